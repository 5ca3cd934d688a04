"""Putting a platform together: the only module that knows every part, reads Settings as a whole and imports backends."""

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from secrets import token_bytes

import msgspec

from evento.api.app import create_app
from evento.api.platform import Deployed, Platform, Waits
from evento.api.server import listening
from evento.clock import Clock, SystemClock
from evento.cluster.gateway import Gateway
from evento.cluster.link import is_address, open_links
from evento.cluster.peering import Credentials, Peering
from evento.engine.base import Verdict
from evento.engine.canary import try_on_stored
from evento.engine.engine import Engine
from evento.engine.fleet import Fleet, Serving
from evento.engine.refolder import Refolder
from evento.engine.unfinished import Limits
from evento.errors import (
    DeploymentRefused,
    FunctionError,
    FunctionUnavailable,
    JournalError,
    JournalUnfit,
    NotFound,
    NotReady,
    SettingsError,
)
from evento.functions.addresses import Guard
from evento.functions.container import ContainerRuntime
from evento.functions.engine_place import engine_url
from evento.functions.leftovers import LONGEST_SOCKET, Belongings
from evento.functions.process import ProcessRuntime, socket_directory
from evento.functions.registries import Registries
from evento.functions.runtimes import Runtimes, UrlRuntime
from evento.interpreter import tune
from evento.journal.base import EntityPlace, Journal
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster, Times
from evento.journal.kafka.publishing import publish_schemas
from evento.journal.kafka.security import read_security
from evento.journal.observer import JournalObserver
from evento.journal.sqlite import open_sqlite
from evento.keys import read_signing_key
from evento.observing import MeteredJournal, MeteredObserver, MeteredReplicas
from evento.operations import Operations
from evento.publisher import Publisher
from evento.reads.reader import Reader
from evento.registry.catalog import Catalog
from evento.registry.deployment import Plan, Registry
from evento.registry.documents import Documents, documents_of
from evento.registry.places import entities_after, places_of
from evento.registry.reading import read_deployment
from evento.registry.revision import as_they_are, revision_now
from evento.settings import Settings, read_environment, read_kafka_properties
from evento.telemetry import Metrics, set_up_logging
from evento.tracing import Tracing, open_tracing
from evento.transfer.checking import check_export
from evento.transfer.exporting import export_journal
from evento.transfer.importing import import_journal
from evento.transfer.manifest import Manifest
from evento.transfer.owning import refuse_while_owned
from evento.transfer.stepping import Progress, silent
from evento.transfer.unfinished import importing_into, refuse_marked, refuse_without_catalog
from evento.watching import stamps

logger = logging.getLogger(__name__)

JOURNAL_FILE = "evento.db"
_REPLACED_LINGER_S = 2.0  # batches that began before may make their next call to a replaced function; then it is drained
_WATCH_S = 0.5
_FOLLOW_S = 0.5  # how often to look whether another node has deployed something
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  addresses to listen at, not to reach


class Node:
    """One running platform: journal, registry, functions, engine; and where nodes share the journal, the ways between them."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        functions: Fleet,
        containers: ContainerRuntime,
        engine: Engine,
        metered: MeteredJournal,
        tracing: Tracing,
        credentials: Credentials | None,
    ) -> None:
        """With `credentials`, several nodes share the journal."""
        self.journal = journal
        self.registry = Registry(journal)
        self.engine = engine
        self.fleet = functions
        self.containers = containers
        self.metrics = metered.metrics
        self.clock = SystemClock()
        self.reader = Reader(journal, engine)
        self.refolder = Refolder(journal, engine)
        self.operations = Operations(
            journal,
            engine,
            self.fleet,
            self.refolder,
            name=_name(settings),
            address=settings.address,
            restores=lambda: metered.restores,
            newest=lambda: (self._newest, self._behind),
        )
        self.catalog = self.registry.catalog  # in force
        self.gateway: Gateway | None = None
        self.peering: Peering | None = None
        if credentials is not None:
            links = partial(open_links, credentials.sign)
            self.gateway = Gateway(journal, engine, self.reader, self.clock, own=credentials.address, links=links)
            self.peering = Peering(journal, engine, self.reader, credentials)
        self.topic_prefix = parse_address(settings.journal).prefix if settings.shared else ""
        self.publisher: Publisher | None = None
        if settings.schema_registry:
            self.publisher = Publisher(partial(publish_schemas, settings.schema_registry), self.clock, self.topic_prefix)
        self.commands = tracing.commands(self.gateway or engine)
        self._looked = 0  # how often it was looked whether there is a newer catalog
        self._behind = ""  # why a newer one is not in force
        self._newest = 0  # the newest that was seen
        self._deploying = asyncio.Lock()
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, *, drain_s: float) -> AsyncIterator[None]:
        """Run everything for the time of the context, with what is deployed. Commands are taken from `wait_open` on."""
        async with self.containers.running(), self.fleet.running(), asyncio.TaskGroup() as self._tasks:
            try:
                async with self._turning(self._tasks, drain_s):
                    yield
            finally:
                self._ended.set()

    @asynccontextmanager
    async def _turning(self, tasks: asyncio.TaskGroup, drain_s: float) -> AsyncIterator[None]:
        catalog = await self.registry.load()
        await self.journal.provide(places_of(catalog))
        if catalog.version:  # before the engine runs: what is pending is taken up at once
            await self._activate(catalog)
        else:
            await refuse_without_catalog(self.journal)
        async with self.engine.running(drain_s=drain_s), nullcontext() if self.gateway is None else self.gateway.running():
            running = [tasks.create_task(self._refold())]
            if self.gateway is not None:
                running.append(tasks.create_task(self._follow()))
            if self.publisher is not None:
                running.append(tasks.create_task(self.publisher.run()))
            try:
                yield
            finally:
                for task in running:
                    task.cancel()

    async def wait_open(self) -> None:
        """Return when every partition takes Commands, here or at another node."""
        await self.engine.wait_open()

    async def _refold(self) -> None:
        await self.wait_open()
        await self.refolder.run()

    async def _follow(self) -> None:
        while True:
            await self.clock.sleep(_FOLLOW_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Put in force what another node has deployed. If that cannot be, it is logged, and tried again; who asks meanwhile shares
        the next look."""
        seen = self._looked
        async with self._deploying:
            if self._looked > seen + 1:
                return
            try:
                catalog = await self.registry.load()
                self._newest = catalog.version
                if catalog.version > self.catalog.version:
                    await self.journal.provide(places_of(catalog))
                    await self._activate(catalog)
                    logger.info("catalog version %d, deployed by another node, is in force", catalog.version)
                self._behind = ""
            except (JournalError, FunctionError) as error:
                if error.message != self._behind:
                    logger.error("the newest catalog is not in force: %s", error.message)
                self._behind = error.message
            self._looked += 1

    async def deploy(self, documents: Sequence[object], *, dry_run: bool, prune: bool) -> Deployed:
        """See `evento.api.platform.Deploy`."""
        return await self.deploy_documents(documents_of(documents), dry_run=dry_run, prune=prune)

    async def deploy_documents(self, documents: Documents, *, dry_run: bool = False, prune: bool = False) -> Deployed:
        """Plan, commit and put in force, here and at the other nodes."""
        deployed = await self._deploy(documents, dry_run=dry_run, prune=prune)
        if self.gateway is not None and not dry_run:
            await self.gateway.asking.refresh()
        return deployed

    async def _deploy(self, documents: Documents, *, dry_run: bool, prune: bool) -> Deployed:
        async with self._deploying:
            plan = await asyncio.to_thread(self.registry.plan, documents, prune=prune)
            if plan.problems:
                await self.registry.commit(plan)  # raises, with all problems
            plan = await self._with_images_pinned(plan)
            if dry_run:
                return Deployed(self.registry.catalog.version, False, plan.changes)
            catalog = await self._roll_out(plan)
            return Deployed(catalog.version, plan.changed, plan.changes)

    async def _with_images_pinned(self, plan: Plan) -> Plan:
        """Let the plan name the content that the images have now. Raises DeploymentRefused if there is no such image."""
        images = {}
        for spec in (each.function for each in plan.declared):
            if spec is not None and spec.image:
                try:
                    images[spec.namespace, spec.name] = await self.containers.pin(spec)
                except FunctionUnavailable as error:
                    why = f"function {spec.namespace}/{spec.name}: {error.message}"
                    raise DeploymentRefused(f"nothing was changed: {why}", problems=[{"message": why}]) from error
        return self.registry.pinned(plan, images) if images else plan

    async def _roll_out(self, plan: Plan) -> Catalog:
        """Have new versions ready, try them on what is stored, commit, and let them take over; those before are drained."""
        preview = self.registry.preview(plan)
        try:
            await self._provide(entities_after(self.registry.catalog, plan))
            await self.fleet.prepare(preview, await asyncio.to_thread(as_they_are, preview.functions))
            await try_on_stored(preview, self.fleet.prepared, self.journal.history, self.engine.here)
            catalog = await self.registry.commit(plan)
            if catalog.version > plan.base + 1:  # another node deployed in between
                await self._provide(places_of(catalog))
            await self._activate(catalog)
        finally:
            self.fleet.forget_prepared()
        return catalog

    async def _provide(self, places: Sequence[EntityPlace]) -> None:
        try:
            await self.journal.provide(places)
        except JournalUnfit as error:
            raise DeploymentRefused(error.message, problems=error.details.get("problems", [])) from error

    async def _activate(self, catalog: Catalog) -> None:
        functions = await asyncio.to_thread(as_they_are, catalog.functions)
        replaced = await self.fleet.follow(catalog, functions)
        self.engine.configure(catalog, self.fleet.callers)
        self.catalog = catalog
        self.refolder.wake()
        if self.publisher is not None:
            self.publisher.show(catalog)
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
            catalog=lambda: self.catalog,
            commands=self.commands,
            reads=self.gateway.asking if self.gateway is not None else self.reader,
            operations=self.operations,
            deploy=self.deploy,
            metrics=self.metrics,
            clock=self.clock,
            waits=Waits(settings.wait_s, settings.wait_max_s),
            peering=self.peering,
            topic_prefix=self.topic_prefix,
        )


def _name(settings: Settings) -> str:
    return settings.journal if settings.shared else f"sqlite:{settings.data_dir / JOURNAL_FILE}"


@asynccontextmanager
async def _open_journal(settings: Settings, observer: JournalObserver | None = None) -> AsyncIterator[Journal]:
    """Open the journal that the settings name. Raises JournalError, SettingsError."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    opening = _open_kafka(settings, observer) if settings.shared else open_sqlite(settings.data_dir / JOURNAL_FILE)
    async with opening as journal:
        refuse_marked(settings.data_dir)
        yield journal


@asynccontextmanager
async def _open_kafka(settings: Settings, observer: JournalObserver | None) -> AsyncIterator[Journal]:
    try:
        from evento.journal.kafka.journal import open_kafka
    except ModuleNotFoundError as error:  # of the client library, which who has no Kafka does not need
        raise SettingsError("a journal on Kafka needs the extra: pip install 'evento-platform[server,kafka]'") from error
    security = await asyncio.to_thread(read_security, settings.kafka_config, read_kafka_properties())
    times = Times.of_session(settings.kafka_session_s)
    cluster = Cluster(address=parse_address(settings.journal), security=security, client_id=settings.address, times=times)
    async with open_kafka(cluster, settings.data_dir, SystemClock(), observer=observer) as journal:
        yield journal


@asynccontextmanager
async def open_node(settings: Settings) -> AsyncIterator[Node]:
    """Open the journal and run a node on it, without an HTTP face; it takes Commands from `Node.wait_open` on.

    Raises JournalError, SettingsError.
    """
    tune(many_threads=settings.shared)
    credentials = credentials_of(settings) if settings.shared else None
    metered = MeteredJournal(Metrics())
    async with (
        _open_journal(settings, metered) as journal,
        run_node(journal, settings, credentials=credentials, journal_metered=metered) as node,
    ):
        yield node


@asynccontextmanager
async def run_node(
    journal: Journal, settings: Settings, *, credentials: Credentials | None = None, journal_metered: MeteredJournal | None = None
) -> AsyncIterator[Node]:
    """Run a node on an open journal; with `credentials`, one of several that share it. `journal_metered` hears the
    journal."""
    journal_metered = journal_metered or MeteredJournal(Metrics())
    metrics, clock = journal_metered.metrics, SystemClock()
    metered = MeteredObserver(metrics)
    limits = Limits.of(settings.inbox_commands, settings.batch_commands)
    async with open_tracing(read_environment()) as tracing:
        observer = tracing.observer(metered)
        engine = Engine(journal, clock, random.random, limits=limits, observer=observer, refresh=lambda: node.refresh())
        containers = _containers(settings, metrics)
        fleet = Fleet(tracing.runtime(_runtimes(settings, containers, metrics)), metered.called)
        node = Node(
            journal,
            settings,
            functions=fleet,
            containers=containers,
            engine=engine,
            metered=journal_metered,
            tracing=tracing,
            credentials=credentials,
        )
        metrics.partitions_owned.read_from(engine.count_partitions)
        metrics.partitions_ownerless.read_from(lambda: engine.ownerless)
        metrics.partition_intake_stopped.read_each_from(
            lambda: {str(number): bool(why) for number, why in engine.stopped_intakes().items()}
        )
        metrics.breaker_open.read_each_from(fleet.open_breakers)
        metrics.inbox_commands.read_from(engine.count_inbox)
        metrics.pending_commands.read_from(lambda: engine.count_pending()[0])
        metrics.parked_commands.read_from(lambda: engine.count_pending()[1])
        async with node.running(drain_s=settings.shutdown_s):
            yield node


def credentials_of(settings: Settings) -> Credentials:
    """Return who this node is to those that share its journal. Raises SettingsError if they could not reach it."""
    address = settings.address
    if not settings.advertise and (settings.host in _EVERYWHERE or not settings.port):
        raise SettingsError(
            f"advertise must be set: other nodes cannot reach this one at {address}", setting="advertise", value=address
        )
    if not is_address(address):
        raise SettingsError(
            f"advertise {address!r}: must be like http://10.0.0.7:7070, without a path", setting="advertise", value=address
        )
    if not settings.cluster_secret:
        logger.warning("cluster_secret is not set: only nodes on this machine can be in one cluster with this one")
    return Credentials(settings.cluster_secret, address, SystemClock(), token_bytes)


def _url_runtime(settings: Settings, clock: Clock) -> UrlRuntime:
    return UrlRuntime(
        clock,
        guard=Guard(settings.function_addresses),
        key=read_signing_key(Path(settings.signing_key)) if settings.signing_key else None,
        ca=Path(settings.function_ca) if settings.function_ca else None,
    )


def _containers(settings: Settings, metrics: Metrics) -> ContainerRuntime:
    def locate() -> str:
        return engine_url(settings.container_engine, read_environment())

    belongings = Belongings(settings.data_dir, Path(socket_directory(name=LONGEST_SOCKET)))
    registries = Registries(Path(settings.registry_auth) if settings.registry_auth else None)
    return ContainerRuntime(SystemClock(), belongings, locate, registries=registries, observer=MeteredReplicas(metrics))


def _runtimes(settings: Settings, containers: ContainerRuntime, metrics: Metrics) -> Runtimes:
    clock = SystemClock()
    processes = ProcessRuntime(clock, read_environment(), revise=revision_now, observer=MeteredReplicas(metrics))
    return Runtimes(processes, _url_runtime(settings, clock), containers)


async def run(settings: Settings, *, sources: Sequence[str] = (), watch: bool = False) -> None:
    """Run a platform with its HTTP face until SIGINT or SIGTERM; deploy `sources` first, and again whenever they change if `watch`.

    Raises DeploymentRefused if the sources are refused at the start, JournalError, SettingsError.
    """
    set_up_logging(settings.log_level, settings.log_format)
    async with open_node(settings) as node:
        if sources:
            await node.wait_open()
            await _deploy_sources(node, sources)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(node, sources, settings.data_dir)) if watch and sources else None
            await _serve(node, settings)
            if watching is not None:
                watching.cancel()


async def verify(settings: Settings) -> Verdict:
    """Verify the journal of a platform that is not running; see `evento.reads.verify`. Raises NotReady if it is empty."""
    async with open_node(settings) as node:
        await node.wait_open()
        return await node.operations.verify()


async def export_data(settings: Settings, folder: Path, *, progress: Progress = silent) -> Mapping[str, int]:
    """Write the journal of a platform that is not running into a folder; return how much of everything it holds.

    Raises NotFound, TransferRefused, JournalError.
    """
    if not settings.shared and not (settings.data_dir / JOURNAL_FILE).exists():
        raise NotFound(f"there is no journal in {settings.data_dir}", path=str(settings.data_dir))
    async with _open_journal(settings) as journal:
        await refuse_while_owned(journal)
        return _counts(await export_journal(journal, folder, progress=progress))


async def import_data(settings: Settings, folder: Path, *, progress: Progress = silent) -> Mapping[str, int]:
    """Make the journal of a new platform from an export; return how much of everything it holds.

    Raises TransferRefused, JournalError.
    """
    export = await check_export(folder, progress=progress)
    async with _open_journal(settings) as journal:
        await refuse_while_owned(journal)
        await import_journal(journal, export, importing_into(settings.data_dir), progress=progress)
    return _counts(export.manifest)


def _counts(manifest: Manifest) -> Mapping[str, int]:
    return {"partitions": manifest.partitions, **msgspec.structs.asdict(manifest.counts)}


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
        if node.peering is not None:
            node.peering.stopping.set()


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
