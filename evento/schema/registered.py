"""A schema as a schema registry has it: a numbered version of a subject, under an id of its own."""

from typing import NamedTuple


class RegisteredSchema(NamedTuple):
    """One version, from 1, of a subject."""

    subject: str
    version: int
    schema_id: int
    text: str
