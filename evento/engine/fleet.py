"""The functions of the catalog in force, each behind its Caller: started for it, replaced when they change, ended when they are gone."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from evento.engine.callers import Caller, CallObserver
from evento.errors import FunctionUnavailable
from evento.functions.base import Expected, ExpectedEntity, FunctionRuntime
from evento.functions.bisect import Bisecting
from evento.model.resources import EntitySpec, FunctionSpec
from evento.registry.catalog import Catalog

logger = logging.getLogger(__name__)

Name = tuple[str, str]


class Fleet:
    """Keeps a client for every function that some Entity or Command needs."""

    def __init__(self, runtime: FunctionRuntime, observe: CallObserver) -> None:
        self._runtime = runtime
        self._observe = observe
        self._serving: dict[Name, tuple[FunctionSpec, Expected, Caller, AsyncExitStack]] = {}

    @property
    def callers(self) -> Mapping[Name, Caller]:
        """Return the functions that serve now."""
        return {name: serving[2] for name, serving in self._serving.items()}

    async def follow(self, catalog: Catalog, functions: Mapping[Name, FunctionSpec]) -> list[AsyncExitStack]:
        """Serve what this catalog needs, with `functions` as they are now; what did not change goes on untouched.

        Returns what is replaced: close it when no turn uses it any more. Raises FunctionUnavailable, with nothing changed, if a
        function is of a kind that cannot be run here.
        """
        wanted = {name: (functions[name], expected_of(catalog, *name)) for name in _needed(catalog)}
        started: dict[Name, tuple[FunctionSpec, Expected, Caller, AsyncExitStack]] = {}
        try:
            for name, (spec, expected) in wanted.items():
                serving = self._serving.get(name)
                if serving is None or serving[:2] != (spec, expected):
                    started[name] = await self._start(spec, expected)
        except FunctionUnavailable:
            for serving in started.values():
                await serving[3].aclose()
            raise
        replaced = [serving[3] for name, serving in self._serving.items() if name in started or name not in wanted]
        self._serving = {name: started.get(name) or self._serving[name] for name in wanted}
        return replaced

    async def _start(self, spec: FunctionSpec, expected: Expected) -> tuple[FunctionSpec, Expected, Caller, AsyncExitStack]:
        stack = AsyncExitStack()
        client = await stack.enter_async_context(self._runtime.serve(spec, expected))
        name = f"{spec.namespace}/{spec.name}"
        return spec, expected, Caller(spec.namespace, spec.name, Bisecting(client, name), observe=self._observe), stack

    async def close(self) -> None:
        """Stop all functions."""
        serving, self._serving = self._serving, {}
        async with asyncio.TaskGroup() as tasks:
            for _, _, _, stack in serving.values():
                tasks.create_task(stack.aclose())


def _needed(catalog: Catalog) -> set[Name]:
    needed = set()
    for entity in catalog.entities.values():
        needed.add((entity.namespace, entity.apply))
        needed.update((entity.namespace, command.handle) for command in entity.commands.values())
    return needed


def expected_of(catalog: Catalog, namespace: str, function: str) -> Expected:
    """Return what the catalog expects a function to serve."""
    found = []
    for entity in catalog.entities.values():
        if entity.namespace != namespace:
            continue
        commands = {name: catalog.schema(spec.schema_id).text for name, spec in entity.commands.items() if spec.handle == function}
        if commands or entity.apply == function:
            found.append(_expected_entity(catalog, entity, commands, applies=entity.apply == function))
    return Expected(tuple(found))


def _expected_entity(catalog: Catalog, entity: EntitySpec, commands: Mapping[str, str], *, applies: bool) -> ExpectedEntity:
    return ExpectedEntity(
        namespace=entity.namespace,
        name=entity.name,
        applies=applies,
        schema=catalog.schema(entity.schema_id).text,
        commands=commands,
        events={name: catalog.schema(spec.schema_id).text for name, spec in entity.events.items()},
    )
