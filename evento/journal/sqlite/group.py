"""What one commit will write: transitions checked one after another, and turned into rows. Pure: no SQL is run here."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from evento.journal.sqlite.layout import EncodedRun, chained, is_inline, row_checksum, state_checksum
from evento.journal.sqlite.tail import Generation, Head, Place
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

    def __init__(self, ends: Ends, heads: dict[EntityKey, Head]) -> None:
        """Begin where the log ends; `heads` must know every instance that exists and is named by a transition."""
        self._position, self._chain, self._instance = ends.position, ends.chain, ends.instance
        self._heads = heads
        self._names: dict[int, EntityKey] = {}
        self._hashes: list[int] = []
        self._positions: list[int] = []
        self._places: list[Place] = []
        self._count = 0
        self._bytes = 0
        self._direct: dict[EntityKey, tuple[int, State]] = {}
        self._pending: dict[int, Pending | None] = {}
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
        generation.add_commands(self._hashes, self._positions)
        generation.places += self._places
        generation.count += self._count
        generation.bytes += self._bytes
        return self._hashes

    def _conflict(self, runs: Sequence[Run]) -> Conflict | None:
        versions: dict[EntityKey, int] = {}
        heads = self._heads
        for run in runs:
            key = run.key
            actual = versions.get(key)
            if actual is None:
                head = heads.get(key)
                actual = 0 if head is None else head.version
            if actual != run.before:
                return Conflict(key=key, before=run.before, actual=actual)
            versions[key] = run.version
        return None

    def _add_run(self, item: EncodedRun) -> None:
        run, events = item.run, item.events
        key, state = run.key, run.state
        head = self._heads.get(key)
        entity = name = None
        if head is None:
            self._instance += 1
            head = Head(self._instance, 0, None)
            self._names[head.number] = key
            entity, name = f"{key.namespace}/{key.entity}", key.id
        self._position += 1
        inline = _NOTHING
        if events:
            self._places.append((head.number, run.before, self._position))
            version = run.before + events
            if state is not None and is_inline(state):
                inline = state
                head = Head(head.number, version, state)
                self._bytes += len(state.payload or b"")
            else:
                head = Head(head.number, version, None)
                self._direct[key] = (head.number, state or State(version, None, 0, ""))
        self._heads[key] = head
        self._add_row(item, head.number, entity, name, inline)

    def _add_row(self, item: EncodedRun, number: int, entity: str | None, name: str | None, state: State) -> None:
        position, before, events, turns, hashes = self._position, item.run.before, item.events, item.turns, item.hashes
        of_state = state_checksum(state.version, state.payload, state.schema_id, state.revision)
        checksum = row_checksum((position, number, before, events, of_state), f"{entity}/{name}" if name else "", turns)
        self._chain = chain = chained(self._chain, checksum)
        self._count += 1
        self._hashes += hashes
        if len(hashes) == 1:
            self._positions.append(position)
            text = f"[{hashes[0]}]"
        else:
            self._positions += [position] * len(hashes)
            text = str(hashes)
        self.rows += (
            *(position, number, entity, name, before, events, text, turns),
            *(state.payload, state.schema_id, state.revision, of_state, checksum, chain),
        )

    def _replace_state(self, key: EntityKey, state: State) -> None:
        head = self._heads.get(key)
        if head is not None and head.version == state.version and state.version > 0:
            self._direct[key] = (head.number, state)
            self._heads[key] = Head(number=head.number, version=head.version, state=state if is_inline(state) else None)
