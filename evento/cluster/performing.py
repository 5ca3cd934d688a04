"""What is asked of the node that owns an instance, done here. Asks nobody else, so that no question goes round in circles."""

from typing import Any

from evento.cluster.wire import (
    Ask,
    AskDiscard,
    AskInstances,
    AskOne,
    AskOutcome,
    AskPending,
    AskRefresh,
    AskRetry,
    AskState,
    AskStream,
)
from evento.engine.engine import Engine
from evento.errors import NotReady
from evento.reads.reader import Reader


async def perform(ask: Ask, engine: Engine, reader: Reader) -> Any:
    """Return the result. Raises NotReady if it is not for this node, and what the port that is asked raises."""
    if not isinstance(ask, AskPending | AskRefresh):
        await _know(ask, engine)
    match ask:
        case AskInstances(partitions, namespace, entity, after, limit):
            _check_here(engine, partitions)
            found = await reader.instances(namespace, entity, partitions=partitions, after=after, limit=limit)
            _check_here(engine, partitions)
            return found
        case AskPending(partitions, parked, after, limit):
            _check_here(engine, partitions)
            return engine.pending_in(partitions, parked=parked, after=after, limit=limit)
        case AskRefresh():
            return await engine.judging.refresh()
        case _:
            engine.partition(ask.key)
            return await _perform_one(ask, engine, reader)


async def _perform_one(ask: AskOne, engine: Engine, reader: Reader) -> Any:
    match ask:
        case AskState(key, version, at_us):
            return await reader.state(key, version=version, at_us=at_us)
        case AskStream(key, after, limit):
            return await reader.stream(key, after=after, limit=limit)
        case AskOutcome(key, command_id):
            return await reader.outcome(key, command_id)
        case AskRetry(key, command_id):
            return await engine.retry(key, command_id)
        case AskDiscard(key, command_id):
            return await engine.discard(key, command_id)


async def _know(ask: AskOne | AskInstances, engine: Engine) -> None:
    """Look for a newer catalog if the one here does not have the Entity: who asks has one that does."""
    place = (ask.namespace, ask.entity) if isinstance(ask, AskInstances) else (ask.key.namespace, ask.key.entity)
    if place not in engine.configuration[0].entities:
        await engine.judging.refresh()


def _check_here(engine: Engine, partitions: tuple[int, ...]) -> None:
    for number in partitions:
        worker = engine.worker(number)
        if worker is None or not worker.open:
            raise NotReady(f"partition {number} is not here")
