"""The distributed journal: partitions, groups and transactions of a Kafka cluster (design §7)."""
