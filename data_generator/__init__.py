"""Fills the topic: made-up events (`event_producer`) or a real dataset (`dataset_replay`)."""
