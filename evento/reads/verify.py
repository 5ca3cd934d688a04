"""`evento verify`: the invariants of reliability §3 as a production audit, from the journal and the functions alone."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from evento.engine.base import Verdict
from evento.engine.callers import Callers
from evento.engine.refolding import Refolding
from evento.errors import FunctionError, NotFound
from evento.journal.base import History, InstanceEntry, Journal
from evento.model.command import OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.registry.catalog import Catalog

_PAGE = 5000


class Verification:
    """Folds everything again and compares. Nothing may be written meanwhile, or differences may be only apparent."""

    def __init__(self, journal: Journal, catalog: Catalog, callers: Callers) -> None:
        self._journal = journal
        self._history: History = journal.history
        self._catalog = catalog
        self._callers = callers
        self._stale = 0

    async def run(self, *, progress: Callable[[int], None] | None = None) -> Verdict:
        """Check store, versions, outcomes, payloads and states; return each difference, none if all is well.

        `progress` hears how many more events were folded. Raises FunctionUnavailable when a function cannot be reached.
        """
        problems = list(await self._journal.check())
        problems += await self._turns()
        try:
            problems += await self._states(progress)
        except FunctionError as error:
            problems.append(f"the states could not be folded: {error.message}")
        return Verdict(problems, self._stale)

    async def _turns(self) -> list[str]:
        """Check that each turn's outcome agrees with its events, and that every payload is readable with its schema."""
        problems: list[str] = []
        for partition in range(self._journal.partitions):
            after = 0
            while entries := await self._history.read_feed(partition, after=after, limit=_PAGE):
                after = entries[-1].position
                turns = [entry.turn for entry in entries]
                problems += [problem for turn in turns if (problem := _outcome_problem(turn))]
                problems += self._payload_problems(turns)
        return problems

    def _payload_problems(self, turns: Sequence[Turn]) -> list[str]:
        payloads: dict[int, list[tuple[str, bytes]]] = {}  # with their places, by their schemas
        for turn in turns:
            command = turn.command
            payloads.setdefault(command.schema_id, []).append((f"Command {command.id} of {command.key}", command.payload))
            for number, event in enumerate(turn.events, turn.before + 1):
                payloads.setdefault(event.schema_id, []).append((f"event {number} of {command.key}", event.payload))
        return self._unreadable(payloads)

    def _unreadable(self, payloads: Mapping[int, Sequence[tuple[str, bytes]]]) -> list[str]:
        problems = []
        for schema_id, found in payloads.items():
            try:
                verdicts = self._catalog.schema(schema_id).check_many([payload for _, payload in found])
            except NotFound as error:
                problems += [f"{place} cannot be read: {error.message}" for place, _ in found]
                continue
            problems += [
                f"{place} is not canonical Avro of its schema: {refused.message}"
                for (place, _), refused in zip(found, verdicts, strict=True)
                if refused is not None
            ]
        return problems

    async def _states(self, progress: Callable[[int], None] | None) -> list[str]:
        problems: list[str] = []
        seen: Counter[tuple[str, str]] = Counter()
        refolding = Refolding(self._history, range(self._journal.partitions), self._catalog, self._callers)
        async for folded, broken in refolding.fold(self._catalog.entities.keys(), progress=progress):
            problems += [f"{item.key}: {item.reason}" for item in broken]
            seen.update((key.namespace, key.entity) for key in folded)
            seen.update((item.key.namespace, item.key.entity) for item in broken)
            for name in self._catalog.entities:
                problems += await self._compare(name, folded)
        for name in self._catalog.entities:
            stored = 0
            async for entries in self._instances(*name):
                stored += len(entries)
            if stored != seen[name]:
                problems.append(f"{name[0]}/{name[1]}: {stored} instances are stored, {seen[name]} have events")
        return problems

    async def _compare(self, name: tuple[str, str], folded: Mapping[EntityKey, State]) -> list[str]:
        problems = []
        async for entries in self._instances(*name):
            for entry in entries:
                again, stored = folded.get(entry.key), entry.state
                if again is None:
                    continue
                if stored.version != again.version:
                    problems.append(f"{entry.key} is stored at version {stored.version}, and has {again.version} events")
                elif stored.payload is None:  # a cache that has nothing
                    continue
                elif not _same_fold(stored, again):
                    self._stale += 1
                    place = f"the state of {entry.key} at version {stored.version}, of an earlier apply or schema,"
                    problems += self._unreadable({stored.schema_id: [(place, stored.payload)]})
                elif stored.payload != again.payload:
                    problems.append(f"{entry.key}: the state at version {stored.version} is not the fold of its events")
        return problems

    async def _instances(self, namespace: str, entity: str) -> AsyncIterator[Sequence[InstanceEntry]]:
        after = ""
        while entries := await self._history.read_instances(namespace, entity, after=after, limit=_PAGE):
            after = entries[-1].key.id
            yield entries


def _same_fold(stored: State, again: State) -> bool:
    """Tell whether a stored state is comparable: one that an earlier apply or schema folded is not served, so not wrong either."""
    return stored.revision == again.revision and stored.schema_id == again.schema_id


def _outcome_problem(turn: Turn) -> str | None:
    place = f"Command {turn.command.id} of {turn.command.key}"
    rejected = any(event.rejection for event in turn.events)
    if turn.kind in (OutcomeKind.CONFLICT, OutcomeKind.DISCARDED):
        return f"{place} is told as {turn.kind} and has events" if turn.events else None
    if not turn.events:
        return f"{place} is told as {turn.kind} and has no event"
    if rejected != (turn.kind is OutcomeKind.REJECTED):
        return f"{place} is told as {turn.kind}, and its events say otherwise"
    return None
