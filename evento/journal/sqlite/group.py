"""What one commit will write: transitions checked one after another, and turned into rows. Pure: no SQL is run here."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from evento.journal.sqlite.layout import EncodedRun, chained, is_inline, row_checksum, state_checksum
from evento.journal.sqlite.tail import Generation, Head
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Run, Transition

_NOTHING = State(version=0, payload=None, schema_id=0, revision="")


class Ends(Struct, frozen=True, gc=False):
    """Where the log ends: the last position, the chain's value there, and the highest instance number."""

    position: int
    chain: int
    instance: int


class Group:
    """Transitions that become durable by one commit."""

    def __init__(self, ends: Ends, find: Callable[[EntityKey], Head | None]) -> None:
        self._find = find
        self._position, self._chain, self._instance = ends.position, ends.chain, ends.instance
        self._heads: dict[EntityKey, Head] = {}
        self._names: dict[int, EntityKey] = {}
        self._placed: list[tuple[int, int, EncodedRun]] = []
        self._direct: dict[EntityKey, tuple[int, State]] = {}
        self._pending: dict[int, Pending | None] = {}
        self._bytes = 0
        self.rows: list[int | str | bytes | None] = []

    @property
    def ends(self) -> Ends:
        """Return where the log will end."""
        return Ends(position=self._position, chain=self._chain, instance=self._instance)

    def add(self, transition: Transition, encoded: Sequence[EncodedRun]) -> Appended | Conflict:
        """Take one transition whole, or refuse it and change nothing."""
        conflict = self._conflict(transition.runs)
        if conflict is not None:
            return conflict
        for item in encoded:
            self._add_run(item)
        for key, state in transition.states:
            self._replace_state(key, state)
        for pending in transition.pending:
            self._pending[pending.number] = pending
        for number in transition.resolved:
            self._pending[number] = None
        return Appended(position=self._position)

    def is_empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not (self.rows or self._direct or self._pending)

    def direct_rows(self) -> list[int | str | bytes | None]:
        """Return the states that go straight into the instances' table, as its rows, one after another."""
        rows: list[int | str | bytes | None] = []
        for key, (number, state) in self._direct.items():
            checksum = state_checksum(state.version, state.payload, state.schema_id, state.revision)
            entity = f"{key.namespace}/{key.entity}"
            rows += (number, entity, key.id, state.version, state.payload, state.schema_id, state.revision, checksum)
        return rows

    def pending(self) -> Mapping[int, Pending | None]:
        """Return what becomes of pending entries: the new content, or None for gone."""
        return self._pending

    def publish(self, generation: Generation) -> list[int]:
        """Add everything to the newest generation, once it is durable. Returns the hashes of the Commands."""
        generation.heads.update(self._heads)
        generation.names.update(self._names)
        generation.count += len(self._placed)
        generation.bytes += self._bytes
        hashes: list[int] = []
        commands, runs = generation.commands, generation.runs
        for position, number, item in self._placed:
            for digest in item.hashes:
                commands[digest] = (*commands[digest], position) if digest in commands else (position,)
            hashes += item.hashes
            if item.events:
                places = runs.get(number)
                if places is None:
                    places = runs[number] = []
                places.append((item.run.before, position))
        return hashes

    def _head(self, key: EntityKey) -> Head | None:
        return self._heads.get(key) or self._find(key)

    def _conflict(self, runs: Sequence[Run]) -> Conflict | None:
        versions: dict[EntityKey, int] = {}
        for run in runs:
            actual = versions.get(run.key)
            if actual is None:
                head = self._head(run.key)
                actual = head.version if head else 0
            if actual != run.before:
                return Conflict(key=run.key, before=run.before, actual=actual)
            versions[run.key] = run.version
        return None

    def _add_run(self, item: EncodedRun) -> None:
        run, key = item.run, item.run.key
        head = self._head(key)
        entity = name = None
        if head is None:
            self._instance += 1
            head = Head(number=self._instance, version=0, state=None)
            self._names[head.number] = key
            entity, name = f"{key.namespace}/{key.entity}", key.id
        self._position += 1
        inline = run.state if item.events and is_inline(run.state) else None
        version = run.before + item.events
        if inline is not None:
            head = Head(number=head.number, version=version, state=inline)
            self._bytes += len(inline.payload or b"")
        elif item.events:
            head = Head(number=head.number, version=version, state=None)
            self._direct[key] = (head.number, run.state or State(version=version, payload=None, schema_id=0, revision=""))
        self._heads[key] = head
        self._placed.append((self._position, head.number, item))
        self._add_row(item, head.number, entity, name, inline or _NOTHING)

    def _add_row(self, item: EncodedRun, number: int, entity: str | None, name: str | None, state: State) -> None:
        of_state = state_checksum(state.version, state.payload, state.schema_id, state.revision)
        numbers = (self._position, number, item.run.before, item.events, of_state)
        checksum = row_checksum(numbers, f"{entity}/{name}" if name else "", item.turns)
        self._chain = chained(self._chain, checksum)
        hashes = f"[{item.hashes[0]}]" if len(item.hashes) == 1 else str(item.hashes)
        self.rows += (self._position, number, entity, name, item.run.before, item.events, hashes, item.turns)
        self.rows += (state.payload, state.schema_id, state.revision, of_state, checksum, self._chain)

    def _replace_state(self, key: EntityKey, state: State) -> None:
        head = self._head(key)
        if head is not None and head.version == state.version and state.version > 0:
            self._direct[key] = (head.number, state)
            self._heads[key] = Head(number=head.number, version=head.version, state=state if is_inline(state) else None)
