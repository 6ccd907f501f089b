"""Spark jobs, in the order in which the data flows."""
