"""The functions of the catalog in force, each behind its Caller: served while needed, replaced when they change."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from evento.engine.callers import Caller, CallObserver
from evento.errors import DeploymentRefused, FunctionUnavailable
from evento.functions.base import Expected, ExpectedEntity, FunctionClient, FunctionRuntime
from evento.model.resources import EntitySpec, FunctionSpec
from evento.registry.catalog import Catalog

Name = tuple[str, str]


class Serving:
    """One function being served: the runtime's context lives in a task of its own, from `start` until `stop`."""

    def __init__(self, spec: FunctionSpec, expected: Expected) -> None:
        self.spec = spec
        self.expected = expected
        self.caller: Caller | None = None
        self._started: asyncio.Future[FunctionClient] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()

    async def run(self, runtime: FunctionRuntime) -> None:
        """Serve the function until it is stopped."""
        try:
            async with runtime.serve(self.spec, self.expected) as client:
                self._started.set_result(client)
                await self._stop.wait()
        except FunctionUnavailable as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def client(self) -> FunctionClient:
        """Return the client. Raises FunctionUnavailable if a function of this kind cannot be served."""
        return await asyncio.shield(self._started)

    def serves(self, spec: FunctionSpec, expected: Expected) -> bool:
        """Tell whether this is that function, and checked for what is expected of it."""
        return self.spec == spec and self.expected == expected

    async def ready(self) -> None:
        """Wait until the function is ready. Raises FunctionUnavailable if it is not in time."""
        assert self.caller is not None  # noqa: S101 - the fleet gives it one at once
        await self.caller.ready()

    def stop(self) -> None:
        """Let the function end; calls under way are drained."""
        self._stop.set()


class Fleet:
    """Keeps a client for every function that some Entity or Command needs."""

    def __init__(self, runtime: FunctionRuntime, observe: CallObserver) -> None:
        self._runtime = runtime
        self._observe = observe
        self._tasks: asyncio.TaskGroup | None = None
        self._serving: dict[Name, Serving] = {}
        self._prepared: dict[Name, Serving] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve for the time of the context; leaving it ends all functions."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                self.forget_prepared()
                for serving in self._serving.values():
                    serving.stop()

    @property
    def callers(self) -> Mapping[Name, Caller]:
        """Return the functions that are served now."""
        return _callers(self._serving)

    @property
    def prepared(self) -> Mapping[Name, Caller]:
        """Return the new versions that are ready and not called yet."""
        return _callers(self._prepared)

    def open_breakers(self) -> Mapping[str, float]:
        """Return by function 1 while calls to it are held back, else 0."""
        return {caller.name: float(caller.status().condition == "failing") for caller in self.callers.values()}

    async def prepare(self, catalog: Catalog, functions: Mapping[Name, FunctionSpec]) -> None:
        """Start the new versions of those functions that this catalog changes and that run here, and wait until all are ready.

        No Command gets to them before `follow`; `forget_prepared` ends them. Raises DeploymentRefused, with nothing changed, if one
        does not get ready: what is served now goes on.
        """
        for name in sorted(_needed(catalog)):
            spec, expected = functions[name], expected_of(catalog, *name)
            serving = self._serving.get(name)
            if serving is not None and not spec.url and not serving.serves(spec, expected):
                self._prepared[name] = await self._start(spec, expected)
        for (namespace, function), serving in self._prepared.items():
            try:
                await serving.ready()
            except FunctionUnavailable as error:
                self.forget_prepared()
                which = f"the new version of function {namespace}/{function}"
                why = f"{which} does not get ready, and the one before goes on: {error.message}"
                raise DeploymentRefused(f"nothing was changed: {why}", problems=[{"message": why}]) from error

    def forget_prepared(self) -> None:
        """End what was prepared and is not served."""
        for serving in self._prepared.values():
            serving.stop()
        self._prepared = {}

    async def follow(self, catalog: Catalog, functions: Mapping[Name, FunctionSpec]) -> Sequence[Serving]:
        """Serve what this catalog needs, with `functions` as they are now; what did not change goes on untouched.

        Returns what is replaced, still serving: stop it when no turn uses it any more. Raises FunctionUnavailable, with nothing
        changed, if a function is of a kind that cannot be served here.
        """
        next_ones: dict[Name, Serving] = {}
        try:
            for name in _needed(catalog):
                spec, expected = functions[name], expected_of(catalog, *name)
                known = [serving for serving in (self._serving.get(name), self._prepared.get(name)) if serving]
                fitting = [serving for serving in known if serving.serves(spec, expected)]
                next_ones[name] = fitting[0] if fitting else await self._start(spec, expected)
        except FunctionUnavailable:
            for serving in next_ones.values():
                if serving not in self._serving.values():
                    serving.stop()
            raise
        replaced = [serving for serving in self._serving.values() if serving not in next_ones.values()]
        self._serving = next_ones
        self._prepared = {name: serving for name, serving in self._prepared.items() if serving not in next_ones.values()}
        self.forget_prepared()
        return replaced

    async def _start(self, spec: FunctionSpec, expected: Expected) -> Serving:
        assert self._tasks is not None  # noqa: S101 - follow is called within running
        serving = Serving(spec, expected)
        self._tasks.create_task(serving.run(self._runtime))
        client, calls_max = await serving.client(), spec.scale.most * spec.scale.concurrency if spec.scale else 0
        serving.caller = Caller(spec.namespace, spec.name, client, observe=self._observe, calls_max=calls_max)
        return serving


def _callers(serving: Mapping[Name, Serving]) -> Mapping[Name, Caller]:
    return {name: each.caller for name, each in serving.items() if each.caller is not None}


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
