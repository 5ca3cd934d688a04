"""Running the platform, as its faces see it. Implements `evento.engine.base.Operations`."""

from collections.abc import Callable, Mapping

from evento.engine.base import IntakeStatus, PartitionStatus, RestoreStatus, Status, Verdict
from evento.engine.engine import Engine
from evento.engine.fleet import Fleet
from evento.engine.refolder import Refolder
from evento.errors import NotReady
from evento.journal.base import Journal
from evento.reads.verify import Verification


class Operations:
    """Status and verification of one node."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        fleet: Fleet,
        refolder: Refolder,
        *,
        name: str,
        address: str,
        restores: Callable[[], Mapping[int, tuple[int, int]]],
        newest: Callable[[], tuple[int, str]],
    ) -> None:
        """`restores` tells how far the partitions are that are being restored: records read, of how many at most; `newest`, which
        catalog version is the newest that was seen, and why it is not in force here, if so."""
        self._journal = journal
        self._engine = engine
        self._fleet = fleet
        self._refolder = refolder
        self._name = name
        self._address = address
        self._restores = restores
        self._newest = newest

    def status(self) -> Status:
        """See `evento.engine.base.Operations.status`."""
        version, reason = 0, ""
        try:
            version = self._engine.configuration[0].version
        except NotReady as error:
            reason = error.message
        ready = self._engine.open
        if not ready:
            reason = self._unready()
        elif (newest := self._newest())[0] > version and newest[1]:
            ready = False
            reason = f"catalog version {newest[0]} cannot be put in force here, and version {version} is: {newest[1]}"
        pending, parked = self._engine.count_pending()
        return Status(
            ready=ready,
            reason=reason,
            journal=self._name,
            catalog_version=version,
            functions=tuple(caller.status() for caller in self._fleet.callers.values()),
            pending=pending,
            parked=parked,
            rebuilding=self._refolder.rebuilding,
            node=self._address,
            partitions=tuple(PartitionStatus(number, self._node_of(number)) for number in range(self._journal.partitions)),
            restoring=tuple(RestoreStatus(number, done, total) for number, (done, total) in sorted(self._restores().items())),
            intakes_stopped=tuple(
                IntakeStatus(number, why) for number, why in sorted(self._engine.stopped_intakes().items()) if why
            ),
        )

    def _unready(self) -> str:
        restores = [f"{number} ({done} of {total} records)" for number, (done, total) in sorted(self._restores().items())]
        return f"these partitions are being read: {', '.join(restores)}" if restores else "the journal is not open"

    def _node_of(self, number: int) -> str | None:
        return self._address if self._engine.worker(number) is not None else self._engine.owners.of(number)

    async def verify(self) -> Verdict:
        """See `evento.engine.base.Operations.verify`."""
        catalog, callers = self._engine.configuration
        return await Verification(self._journal, catalog, callers).run()
