"""Schemas of Evento's own that stand on topics, under ids that no deployed schema will ever have: those count from 1.

An id and its schema belong together for ever: what changes gets the next id, and what was written stays readable.
"""

from collections.abc import Mapping
from importlib.resources import files

RESERVED_FROM = 2_000_000_001  # of 2³¹-1 that the wire format has room for; a catalog never comes near
OUTCOME_ID = RESERVED_FROM
_FILES = {OUTCOME_ID: "outcome.avsc"}


def reserved_schemas() -> Mapping[int, str]:
    """Return the text of each of Evento's own schemas by its id."""
    return {number: files(__package__).joinpath(name).read_text("utf-8") for number, name in _FILES.items()}
