"""A new apply tried on what is stored, before it takes over: one that fails there would stop instances (reliability §7, 40).

Some instances of each Entity are folded from their events by the version that is ready and not called yet. The result is thrown
away: that it differs is what new versions are for.
"""

from collections.abc import Collection, Mapping, Sequence

from evento.engine.callers import Caller
from evento.engine.folding import Folding
from evento.errors import DeploymentRefused, FunctionError, PayloadRefused
from evento.journal.base import History, InstanceEntry
from evento.model.resources import EntitySpec
from evento.registry.catalog import Catalog

TRIED_INSTANCES = 10  # of each Entity, the first by id
TRIED_EVENTS = 1000  # of each of them, from the first


async def try_on_stored(
    catalog: Catalog, callers: Mapping[tuple[str, str], Caller], history: History, partitions: Collection[int]
) -> None:
    """Let the functions that are about to take over apply stored events, of instances in these partitions.

    Raises DeploymentRefused, with nothing changed, if one fails on an instance that the version before has folded.
    """
    folding = Folding(history)
    for entity in catalog.entities.values():
        if (entity.namespace, entity.apply) in callers:
            found = await history.read_instances(entity.namespace, entity.name, partitions=partitions, limit=TRIED_INSTANCES)
            await _try_instances(catalog, callers, folding, entity, found)


async def _try_instances(
    catalog: Catalog,
    callers: Mapping[tuple[str, str], Caller],
    folding: Folding,
    entity: EntitySpec,
    instances: Sequence[InstanceEntry],
) -> None:
    for found in instances:
        if not found.state.version or found.state.payload is None:  # the version before has not got there either
            continue
        try:
            await folding.fold(catalog, callers, found.key, version=min(found.state.version, TRIED_EVENTS))
        except (FunctionError, PayloadRefused) as error:
            which = f"the new version of function {entity.namespace}/{entity.apply}"
            why = f"{which} fails on what is stored, and the one before goes on: {error.message}"
            raise DeploymentRefused(f"nothing was changed: {why}", problems=[{"message": why}]) from error
