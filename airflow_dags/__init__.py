"""Airflow DAGs, and what only their tasks use."""
