"""Putting a platform together: the only module that knows every part, reads Settings as a whole and imports backends."""

import asyncio
import gc
import logging
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from evento.api.app import create_app
from evento.api.platform import Deployed, Platform, Waits
from evento.api.server import listening
from evento.clock import SystemClock
from evento.engine.engine import Engine
from evento.engine.fleet import Fleet, Serving
from evento.engine.refolder import Refolder
from evento.engine.worker import Limits
from evento.errors import DeploymentRefused, NotReady
from evento.functions.process import ProcessRuntime
from evento.functions.runtimes import Runtimes, UrlRuntime
from evento.journal.base import Journal
from evento.journal.sqlite import open_sqlite
from evento.model.resources import FunctionSpec
from evento.observing import MeteredObserver
from evento.operations import Operations
from evento.reads.reader import Reader
from evento.registry.catalog import Catalog
from evento.registry.deployment import Registry
from evento.registry.documents import Documents, documents_of
from evento.registry.reading import read_deployment
from evento.registry.revision import function_revision
from evento.settings import Settings, read_environment
from evento.telemetry import Metrics, set_up_logging
from evento.watching import stamps

logger = logging.getLogger(__name__)

JOURNAL_FILE = "evento.db"
_REPLACED_LINGER_S = 15.0  # a replaced function may still have calls under way; its timeout is 10 s by default
_WATCH_S = 0.5
# A thread that waits for the GIL asks for it after this; the default of 5 ms would add as much to commits under load.
_SWITCH_S = 0.0005
# Batches make and free some ten thousand objects without cycles: looking for these only when more have gathered saves a
# twentieth of the time, and what is forgotten in cycles meanwhile stays below some 20 MiB.
_GC_THRESHOLDS = (200_000, 10, 50)


class Node:
    """One running platform: journal, registry, functions, engine."""

    def __init__(self, journal: Journal, settings: Settings, *, functions: Fleet, engine: Engine, metrics: Metrics) -> None:
        self.journal = journal
        self.registry = Registry(journal)
        self.engine = engine
        self.fleet = functions
        self.metrics = metrics
        self.clock = SystemClock()
        self.reader = Reader(journal, engine)
        self.refolder = Refolder(journal, engine)
        self.operations = Operations(journal, engine, self.fleet, self.refolder, name=f"sqlite:{settings.data_dir / JOURNAL_FILE}")
        self._deploying = asyncio.Lock()
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, *, drain_s: float) -> AsyncIterator[None]:
        """Run everything for the time of the context, with what is deployed."""
        async with self.fleet.running(), asyncio.TaskGroup() as self._tasks:
            try:
                async with self._turning(self._tasks, drain_s):
                    yield
            finally:
                self._ended.set()

    @asynccontextmanager
    async def _turning(self, tasks: asyncio.TaskGroup, drain_s: float) -> AsyncIterator[None]:
        catalog = await self.registry.load()
        if catalog.version:  # before the engine runs: what is pending is taken up at once
            await self._activate(catalog)
        async with self.engine.running(drain_s=drain_s):
            refolding = tasks.create_task(self.refolder.run())
            try:
                yield
            finally:
                refolding.cancel()

    async def deploy(self, documents: Sequence[object], *, dry_run: bool, prune: bool) -> Deployed:
        """See `evento.api.platform.Deploy`."""
        return await self.deploy_documents(documents_of(documents), dry_run=dry_run, prune=prune)

    async def deploy_documents(self, documents: Documents, *, dry_run: bool = False, prune: bool = False) -> Deployed:
        """Plan, commit and put in force."""
        async with self._deploying:
            plan = await asyncio.to_thread(self.registry.plan, documents, prune=prune)
            if plan.problems:
                await self.registry.commit(plan)  # raises, with all problems
            if dry_run:
                return Deployed(self.registry.catalog.version, False, plan.changes)
            catalog = await self.registry.commit(plan)
            await self._activate(catalog)
            return Deployed(catalog.version, plan.changed, plan.changes)

    async def _activate(self, catalog: Catalog) -> None:
        functions = await asyncio.to_thread(_as_they_are, catalog)
        replaced = await self.fleet.follow(catalog, functions)
        self.engine.configure(catalog, self.fleet.callers)
        self.refolder.wake()
        if replaced and self._tasks is not None:
            self._tasks.create_task(self._retire(replaced))

    async def _retire(self, replaced: Sequence[Serving]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPLACED_LINGER_S):
                await self._ended.wait()
        for serving in replaced:
            serving.stop()

    def platform(self, settings: Settings) -> Platform:
        """Return what the API needs of this node."""
        return Platform(
            catalog=lambda: self.registry.catalog,
            commands=self.engine,
            reads=self.reader,
            operations=self.operations,
            deploy=self.deploy,
            metrics=self.metrics,
            clock=self.clock,
            waits=Waits(settings.wait_s, settings.wait_max_s),
        )


def _as_they_are(catalog: Catalog) -> Mapping[tuple[str, str], FunctionSpec]:
    """Return the functions with the revision that their content has now: it may have changed since it was deployed."""
    return {name: msgspec.structs.replace(spec, revision=_revision_now(spec)) for name, spec in catalog.functions.items()}


def _revision_now(spec: FunctionSpec) -> str:
    try:
        return function_revision(spec)
    except DeploymentRefused as error:
        logger.warning("function %s/%s: %s", spec.namespace, spec.name, error.message)
        return spec.revision


@asynccontextmanager
async def open_node(settings: Settings) -> AsyncIterator[Node]:
    """Open the journal and run a node on it, without an HTTP face. Raises JournalError, SettingsError."""
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(*_GC_THRESHOLDS)
    metrics = Metrics()
    observer = MeteredObserver(metrics)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with open_sqlite(settings.data_dir / JOURNAL_FILE) as journal:
        limits = Limits(inbox_commands=settings.inbox_commands, batch_commands=settings.batch_commands)
        engine = Engine(journal, SystemClock(), random.random, limits=limits, observer=observer)
        clock = SystemClock()
        fleet = Fleet(Runtimes(ProcessRuntime(clock, read_environment(), revise=_revision_now), UrlRuntime(clock)), observer.called)
        node = Node(journal, settings, functions=fleet, engine=engine, metrics=metrics)
        metrics.inbox_commands.read_from(engine.count_inbox)
        metrics.pending_commands.read_from(lambda: engine.count_pending()[0])
        metrics.parked_commands.read_from(lambda: engine.count_pending()[1])
        async with node.running(drain_s=settings.shutdown_s):
            yield node


async def run(settings: Settings, *, sources: Sequence[str] = (), watch: bool = False) -> None:
    """Run a platform with its HTTP face until SIGINT or SIGTERM; deploy `sources` first, and again whenever they change if `watch`.

    Raises DeploymentRefused if the sources are refused at the start, JournalError, SettingsError.
    """
    set_up_logging(settings.log_level, settings.log_format)
    async with open_node(settings) as node:
        if sources:
            await _deploy_sources(node, sources)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(node, sources, settings.data_dir)) if watch and sources else None
            await _serve(node, settings)
            if watching is not None:
                watching.cancel()


async def verify(settings: Settings) -> Sequence[str]:
    """Verify the data folder of a platform that is not running; see `evento.reads.verify`. Raises NotReady if it is empty."""
    async with open_node(settings) as node:
        return await node.operations.verify()


async def _deploy_sources(node: Node, sources: Sequence[str]) -> None:
    documents = await asyncio.to_thread(read_deployment, sources)
    deployed = await node.deploy_documents(documents)
    logger.info("catalog version %d is in force%s", deployed.version, "" if deployed.committed else ", as before")


async def _serve(node: Node, settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    app = create_app(node.platform(settings))
    async with listening(app, host=settings.host, port=settings.port, shutdown_s=settings.shutdown_s) as port:
        logger.info("serving on http://%s:%d", settings.host, port)
        await stopping.wait()
        logger.info("stopping")


async def _watch(node: Node, sources: Sequence[str], data_dir: Path) -> None:
    """Deploy again whenever a file below the sources changes. A deployment that is refused changes nothing, and is told."""
    seen = await asyncio.to_thread(stamps, sources, data_dir=data_dir)
    while True:
        await node.clock.sleep(_WATCH_S)
        now = await asyncio.to_thread(stamps, sources, data_dir=data_dir)
        if now == seen:
            continue
        seen = now
        try:
            await _deploy_sources(node, sources)
        except (DeploymentRefused, NotReady) as error:
            logger.error("not deployed: %s", error.message)
