"""The distributed journal: topics of Kafka, and a replica of each partition beside them (docs/decisions/008)."""
