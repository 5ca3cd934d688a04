"""Answers of other nodes may be written with schemas that were deployed a moment ago: this node must know them before it tells."""

from collections.abc import Iterable
from typing import Any

from evento.engine.engine import Engine
from evento.journal.base import InstanceEntry
from evento.model.command import Outcome, State, Turn


async def learn(engine: Engine, found: Any) -> None:
    """Look for a newer catalog if anything found has a schema that the one in force does not have."""
    newest = newest_schema(found)
    if newest and newest not in engine.configuration[0].schema_ids:
        await engine.judging.refresh()


def newest_schema(found: Any) -> int:
    """Return the highest id of a schema in what is told; 0 if there is none."""
    match found:
        case Outcome(turn=Turn() as turn) | (Turn() as turn):
            return max([event.schema_id for event in turn.events], default=0)
        case State():
            return found.schema_id
        case InstanceEntry():
            return found.state.schema_id
        case list() | tuple():
            return _newest(found)
    return 0


def _newest(found: Iterable[Any]) -> int:
    return max(map(newest_schema, found), default=0)
