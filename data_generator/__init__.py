"""Events into Kafka."""
