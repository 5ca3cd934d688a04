"""The catalog's schemas as a schema registry of Kafka's world orders them: by subject, numbered as versions. Pure; knows no HTTP.

A subject is named after a topic (`bank.Checking.events-value`: every schema that ever stood there, in the order of deployment), or
after a record (`bank.CashWithdrawn`: every schema of this full name). Both only grow: a version is the same schema for ever.
"""

from collections.abc import Mapping, Sequence

from evento.protocol.reserved import OUTCOME_ID, reserved_schemas
from evento.registry.contents import Contents
from evento.registry.schema_files import full_name
from evento.schema import Schema, parse_schema
from evento.schema.registered import RegisteredSchema

_VALUE = "-value"
_OUTCOMES_TOPIC = "evento.outcomes"


class Subjects:
    """All subjects of one catalog version, Evento's own schemas among them."""

    def __init__(self, contents: Contents, topic_prefix: str) -> None:
        self._contents = contents
        self._reserved = reserved_schemas()
        topics = {".".join(topic): ids for topic, ids in contents.topics.items()} | {_OUTCOMES_TOPIC: (OUTCOME_ID,)}
        named = {f"{topic_prefix}{topic}{_VALUE}": ids for topic, ids in topics.items()}
        self._by_name: Mapping[str, Sequence[int]] = dict(sorted((self._records() | named).items()))

    def names(self) -> Sequence[str]:
        """Return the names of all subjects, sorted."""
        return list(self._by_name)

    def ids(self, subject: str) -> Sequence[int] | None:
        """Return the ids of a subject's versions 1, 2, 3 …, or None if there is no such subject."""
        return self._by_name.get(subject)

    def text(self, schema_id: int) -> str | None:
        """Return the text of a schema, or None if there is none with this id."""
        texts = self._contents.texts
        return texts[schema_id - 1] if 1 <= schema_id <= len(texts) else self._reserved.get(schema_id)

    def id_of(self, schema: Schema) -> int | None:
        """Return the id of a schema with exactly this text, or None."""
        known = self._contents.ids.get(schema.text)
        if known is not None:
            return known
        return next((number for number, text in self._reserved.items() if parse_schema(text) == schema), None)

    def places(self, schema_id: int) -> Sequence[tuple[str, int]]:
        """Return every subject that has a schema, and as which version."""
        return [(name, ids.index(schema_id) + 1) for name, ids in self._by_name.items() if schema_id in ids]

    def of_topics(self) -> Sequence[RegisteredSchema]:
        """Return every version of the subjects that are named after topics, those of a subject in order."""
        return [
            RegisteredSchema(subject, version, schema_id, self.text(schema_id) or "")
            for subject, ids in self._by_name.items()
            if subject.endswith(_VALUE)
            for version, schema_id in enumerate(ids, 1)
        ]

    def _records(self) -> dict[str, Sequence[int]]:
        records: dict[str, list[int]] = {}
        for number, text in [*enumerate(self._contents.texts, 1), *self._reserved.items()]:
            if (name := full_name(text)) is not None:
                records.setdefault(name, []).append(number)
        return dict(records)
