"""Apache Kafka for tests: real brokers on free ports, faults, and a proxy that understands requests. No mock of Kafka is used."""
