"""The names of a deployment on a cluster: its topics, kept once made, its group, its transactional ids. Knows no client."""

from functools import lru_cache

from evento.journal.kafka.address import KafkaAddress
from evento.journal.kafka.topics import EntityTopics, deployment_topics, entity_topics

ENTITIES_KEPT = 4096
_EVENTS = ".events"


class Names:
    """The names under one address."""

    def __init__(self, address: KafkaAddress) -> None:
        own = deployment_topics(address)
        self.pending, self.outcomes, self.catalog, self.replicas = own.pending, own.outcomes, own.catalog, own.replicas
        self.group = address.group
        self.catalog_id = f"{self.group}.catalog"
        self._prefix = address.prefix
        self._of = lru_cache(ENTITIES_KEPT)(lambda namespace, entity: entity_topics(address, namespace, entity))

    def transactional_id(self, partition: int) -> str:
        """Return under which id the owner of a partition commits."""
        return f"{self.group}.{partition}"

    def copying_id(self, partition: int) -> str:
        """Return under which id the owner of a partition writes copies of its replica."""
        return f"{self.group}.{partition}.copies"

    def entity(self, namespace: str, entity: str) -> EntityTopics:
        """Return the topics of one Entity. Raises InvalidName."""
        return self._of(namespace, entity)

    def commands(self, namespace: str, entity: str) -> str:
        """Return the topic of one Entity's Commands."""
        return self._of(namespace, entity).commands

    def events(self, namespace: str, entity: str) -> str:
        """Return the topic of one Entity's Events."""
        return self._of(namespace, entity).events

    def state(self, namespace: str, entity: str) -> str:
        """Return the topic of one Entity's states."""
        return self._of(namespace, entity).state

    def entity_of_events(self, topic: str) -> tuple[str, str] | None:
        """Return namespace and name of the Entity whose Events' topic this is, None if it is none."""
        if not topic.startswith(self._prefix) or not topic.endswith(_EVENTS):
            return None
        namespace, _, entity = topic[len(self._prefix) : -len(_EVENTS)].partition(".")
        return (namespace, entity) if entity else None
