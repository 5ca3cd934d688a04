"""The Kafka journal as the port wants it: membership, replicas, owners, the catalog, put together.

Knows neither records nor SQL.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from threading import Semaphore

from msgspec.structs import replace

from evento.clock import Clock
from evento.errors import (
    InvalidName,
    JournalBusy,
    JournalCorrupt,
    JournalError,
    JournalFenced,
    JournalLost,
    JournalRefused,
    JournalRewind,
    JournalUnfit,
    JournalUnreachable,
)
from evento.journal.base import EntityPlace, History, Journal, Partition
from evento.journal.kafka.access import Role, check_access
from evento.journal.kafka.catalog import Catalogs
from evento.journal.kafka.clients import Cluster, member_properties
from evento.journal.kafka.copying import Copier
from evento.journal.kafka.history import KafkaHistory
from evento.journal.kafka.holding import Holding, Node, Progress
from evento.journal.kafka.intake import Intake
from evento.journal.kafka.membership import Lease, Membership
from evento.journal.kafka.names import Names
from evento.journal.kafka.owning import COMMITS_AT_ONCE, CONFIRM_S, Owner
from evento.journal.kafka.partition import KafkaPartition
from evento.journal.kafka.placing import partition_of
from evento.journal.kafka.survey import Survey
from evento.journal.kafka.topics import (
    DeploymentTopics,
    EntityTopics,
    Topic,
    deployment_topics,
    ensure,
    topics_of_deployment,
    topics_of_entity,
)
from evento.journal.kafka.verify import Refolded, verify
from evento.journal.kafka.watchdog import watched
from evento.journal.observer import JournalObserver
from evento.journal.sqlite.connection import Tuning
from evento.journal.sqlite.copying import copy_file
from evento.journal.sqlite.files import acquire, check_filesystem, release
from evento.model.keys import EntityKey

SHARES_MAX = 8  # more replicas than this take more memory than one journal would
TAKE_OVER_AGAIN_S = 1.0
LISTEN_S = 30.0  # an owner that has nothing to commit hears so often what its client has to say
_FOLDER = "kafka"
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_kafka(
    cluster: Cluster, data: Path, clock: Clock, *, observer: JournalObserver | None = None
) -> AsyncIterator[Journal]:
    """Open the journal on a cluster, with its replicas below `data`; `cluster.client_id` is the address at which other nodes
    reach this one.

    The deployment's topics are made if they are missing and nothing tells that they were there. Raises JournalError, SettingsError.
    """
    folder = data / _FOLDER
    async with AsyncExitStack() as opened:
        lock = await asyncio.to_thread(acquire, folder)
        opened.callback(release, lock)
        await asyncio.to_thread(check_filesystem, folder)
        names = Names(cluster.address)
        await _ensure(cluster, topics_of_deployment(cluster.address), [deployment_topics(cluster.address)], clock)
        tuning = Tuning(synchronous="NORMAL", shares=min(SHARES_MAX, cluster.address.partitions))
        survey = Survey(cluster)
        opened.callback(survey.close)
        node = Node(cluster, names, survey, folder, tuning, Semaphore(COMMITS_AT_ONCE), {}, observer or JournalObserver())
        membership = Membership(member_properties(cluster, names.group), names.pending)
        copier = Copier(node, clock)
        journal = KafkaJournal(node, membership, copier, clock)
        opened.enter_context(watched(membership.leave))
        opened.push_async_callback(journal.close)
        opened.push_async_callback(copier.stop)
        opened.push_async_callback(membership.stop)
        yield journal


class KafkaJournal:
    """A journal of many partitions, which nodes share."""

    def __init__(self, node: Node, membership: Membership, copier: Copier, clock: Clock) -> None:
        self._node = node
        self._membership = membership
        self._copier = copier
        self._clock = clock
        self._catalogs = Catalogs(node.cluster, node.names, node.survey)
        self._appending = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._holdings: dict[int, Holding] = {}
        self._owned: set[int] = set()

    @property
    def history(self) -> History:
        """Return the reader's side."""
        return KafkaHistory(self._hold, self.partition_of, self._spread)

    @property
    def partitions(self) -> int:
        """Return how many partitions the deployment has."""
        return self._node.cluster.address.partitions

    async def provide(self, entities: Sequence[EntityPlace]) -> None:
        """Make the topics of these Entities, and check those that exist. Raises JournalUnfit, JournalError.

        Of an Entity that is deployed no Event or Command is made anew.
        """
        address = self._node.cluster.address
        places = [replace(each, partitions=each.partitions or address.partitions) for each in entities]
        try:
            wanted = [
                topic
                for place in places
                for topic in topics_of_entity(
                    address, place.namespace, place.entity, partitions=place.partitions, deployed=place.deployed
                )
            ]
            new = [place for place in places if (place.namespace, place.entity) not in self._node.entities]
            names = [self._node.names.entity(place.namespace, place.entity) for place in new]
            made = await _ensure(self._node.cluster, wanted, names, self._clock, used=True)
        except InvalidName as error:
            raise JournalUnfit(error.message, problems=[error.message]) from error
        except JournalRefused as error:
            raise JournalUnfit(error.message, problems=error.message.split("; ")) from error
        for place in places:
            self._node.entities[place.namespace, place.entity] = place
            if place.deployed and (topic := self._node.names.state(place.namespace, place.entity)) in made:
                _log.warning("topic %s was gone, and is made anew: the states are folded from the Events again", topic)

    def partition_of(self, key: EntityKey) -> int:
        """Return the partition of an instance: of an Entity that was not provided, as if it used all of them."""
        return partition_of(key.id, self._spread(key.namespace, key.entity))

    async def read_owners(self) -> Mapping[int, str]:
        """Return the addresses of the other nodes that own partitions, by partition. Raises JournalError."""
        names, address = self._node.names, self._node.cluster.client_id
        members = await asyncio.to_thread(self._node.survey.members, names.group, names.pending)
        if (
            self._membership.is_begun
        ):  # the group may know this node's place in it before the node does; and its predecessor's still
            members = [member for member in members if member.client_id != address]
        return {number: member.client_id for member in members for number in member.partitions}

    def own(self, number: int) -> AbstractAsyncContextManager[Partition]:
        """Become the owner of a partition, once the group has given it to this node.

        Raises JournalBusy if this node has it already.
        """
        return self._own(number)

    async def check(self) -> Sequence[str]:
        """Read every topic from its beginning, hold all of it against itself and against the replicas, and return every
        difference.
        """
        found: list[str] = []
        for number in range(self.partitions):
            holding = await self._hold(number)
            used = self._node.folder / f"{number}.verified"
            try:
                async with holding.current():  # not for as long as verifying takes: it may have to be owned
                    await asyncio.to_thread(copy_file, await holding.settle(), used, self._node.tuning, lambda: None)
                verified = await asyncio.to_thread(verify, number, used, self._node)
                found += [*verified.differences, *await _still_other(holding, verified.refolded)]
            except (JournalCorrupt, JournalLost) as error:
                found.append(error.message)
            finally:
                await asyncio.to_thread(used.unlink, missing_ok=True)
        return found

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Return the catalog versions above `after`, in order."""
        return await asyncio.to_thread(self._catalogs.read, after)

    async def append_catalog(self, version: int, content: bytes) -> bool:
        """Make one version durable, if it is the next one."""
        async with self._appending:
            return await asyncio.to_thread(self._catalogs.append, version, content)

    async def close(self) -> None:
        """Close the replicas."""
        async with AsyncExitStack() as closing:
            for holding in self._holdings.values():
                closing.push_async_callback(holding.stop)

    def _spread(self, namespace: str, entity: str) -> int:
        place = self._node.entities.get((namespace, entity))
        return self.partitions if place is None else place.partitions

    async def _hold(self, number: int, progress: Progress = lambda done, total: None) -> Holding:
        async with self._opening:
            if number not in self._holdings:
                holding = Holding(number, self._node)
                try:
                    await holding.start(progress)
                except BaseException:
                    await holding.stop()
                    raise
                self._holdings[number] = holding
            return self._holdings[number]

    @asynccontextmanager
    async def _own(self, number: int) -> AsyncIterator[Partition]:
        if not 0 <= number < self.partitions:
            raise JournalError(f"there is no partition {number}; this journal has {self.partitions}, from 0", partition=number)
        with self._only_here(number):
            while True:
                async with AsyncExitStack() as owning:
                    partition = await self._taken(number, owning)
                    if partition is not None:
                        yield partition
                        return
                await self._clock.sleep(TAKE_OVER_AGAIN_S)

    @contextmanager
    def _only_here(self, number: int) -> Iterator[None]:
        if number in self._owned:
            raise JournalBusy(f"partition {number} has an owner in this process already", partition=number)
        self._owned.add(number)
        try:
            yield
        finally:
            self._owned.discard(number)

    async def _taken(self, number: int, owning: AsyncExitStack) -> KafkaPartition | None:
        """Take a partition over when the group gives it; None if it was taken away meanwhile, or the cluster did not answer."""
        lease = await owning.enter_async_context(self._membership.hold(number))
        try:
            if not await self._confirmed(lease):
                return None
            holding = await self._hold(number, partial(self._node.observer.restoring, number))
            async with self._opening:
                pass  # copies are taken before topics are read: that would keep the interpreter's lock from them
            owner = await holding.take(lease)
        except (JournalRewind, JournalFenced, JournalUnreachable) as error:
            _log.warning("partition %d is not taken over yet: %s", number, error.message)
            return None
        owning.push_async_callback(holding.release, owner)
        owning.enter_context(_listening(holding, owner))
        owning.enter_context(self._copier.copying(holding, lease))
        intake = Intake(number, self._node, holding.store.inputs, owner.begin)
        owning.push_async_callback(intake.stop)
        partition = KafkaPartition(holding, lease, owner, intake)
        owning.callback(setattr, partition, "given_up", True)
        return partition

    async def _confirmed(self, lease: Lease) -> bool:
        """Ask the group whether it means this node: one that stood still may not know yet that others have its partitions.

        To fence is to be the owner; who fences without being asked takes the partition from its lawful owner.
        """
        names, survey = self._node.names, self._node.survey
        while lease.is_valid and not lease.is_revoked:
            members = await asyncio.to_thread(partial(survey.members, names.group, names.pending))
            if lease.is_meant_by(members):
                return True
            await self._clock.sleep(CONFIRM_S)
        return False


@contextmanager
def _listening(holding: Holding, owner: Owner) -> Iterator[None]:
    """Let an owner hear its client every LISTEN_S, for the time of the context."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        timer = loop.call_later(LISTEN_S, listen)

    def listen() -> None:
        holding.listen(owner)
        again()

    again()
    try:
        yield
    finally:
        timer.cancel()


async def _still_other(holding: Holding, refolded: Sequence[Refolded]) -> list[str]:
    """Return the differences that are none of states folded again while they were compared."""
    if not refolded:
        return []
    async with holding.current():
        states = await holding.reads.read_states([each.key for each in refolded])
    return [each.difference for each in refolded if each.contradicts(states)]


async def _ensure(
    cluster: Cluster, topics: Sequence[Topic], names: Sequence[EntityTopics | DeploymentTopics], clock: Clock, *, used: bool = False
) -> Sequence[str]:
    """Do what `ensure` does, and check the rights on the topics with these names. Raises what `ensure` raises."""
    await _check_rights(cluster, names, clock)  # first: who lacks some may not see what else there is to say
    made = await ensure(cluster, topics, clock, used=used)
    if made:
        await _check_rights(cluster, names, clock)  # nobody has rights on what does not exist
    return made


async def _check_rights(cluster: Cluster, names: Sequence[EntityTopics | DeploymentTopics], clock: Clock) -> None:
    group = Names(cluster.address).group
    if names and (missing := await check_access(cluster, Role.NODE, names, clock, group=group)):
        raise JournalRefused("; ".join(map(str, missing)))
