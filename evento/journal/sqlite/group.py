"""What one commit will write: transitions checked one after another, and turned into rows. Pure: no SQL is run here.

Every microsecond here is one under the interpreter's lock: a run costs one pass of one loop, and its rows are one flat list.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from evento.journal.sqlite.hashing import command_hash
from evento.journal.sqlite.layout import chained, content_checksum, encode, encode_run, is_inline, name_of
from evento.journal.sqlite.tail import Generation, Head, RowValue
from evento.model.command import State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Run, Transition


class Ends(Struct, frozen=True, gc=False):
    """Where the log ends: the last position, the chain's value there, and the highest instance number."""

    position: int
    chain: int
    instance: int


class Group:
    """Transitions that become durable by one commit."""

    def __init__(self, ends: Ends, heads: dict[EntityKey, Head], modulus: int, *, by_turn: bool = False) -> None:
        """Begin where the log ends; `heads` must know every instance that exists and is named by a transition.

        `by_turn`: each turn is a row of its own, else each run.
        """
        self.ends = ends
        self._by_turn = by_turn
        self.rows: list[RowValue] = []
        self._heads = heads
        self._modulus = modulus
        self._bytes = 0
        self._direct: dict[EntityKey, tuple[int, int, bytes | None]] = {}
        self._pending: dict[int, bytes | None] = {}

    def add(self, transition: Transition) -> Appended | Conflict:
        """Take one transition whole, or refuse it and change nothing. What cannot be encoded raises, and changes nothing either."""
        states = [(key, state, encode(state)) for key, state in transition.states]
        pending = {entry.number: encode(entry) for entry in transition.pending}
        conflict = self._add_runs(transition.runs)
        if conflict is not None:
            return conflict
        for key, state, content in states:
            self._replace_state(key, state, content)
        self._pending.update(pending)
        for number in transition.resolved:
            self._pending[number] = None
        return Appended(position=self.ends.position)

    def is_empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not (self.rows or self._direct or self._pending)

    def has_only_rows(self) -> bool:
        """Return whether rows of the log are all there is to write."""
        return not (self._direct or self._pending) and bool(self.rows)

    def version(self, key: EntityKey) -> int:
        """Return at which version an instance is that is named by a transition."""
        head = self._heads.get(key)
        return 0 if head is None else head.version

    def direct_rows(self) -> list[int | str | bytes | None]:
        """Return the states that go straight into the instances' table, as its rows, one after another."""
        rows: list[int | str | bytes | None] = []
        for key, (number, version, content) in self._direct.items():
            rows += (number, name_of(key), version, content, 0 if content is None else content_checksum(number, content))
        return rows

    def pending(self) -> Mapping[int, bytes | None]:
        """Return what becomes of pending entries: the new content, or None for gone."""
        return self._pending

    def publish(self, generation: Generation) -> Sequence[int]:
        """Add everything to the newest generation, once it is durable. Returns the hashes of the Commands."""
        generation.heads.update(self._heads)
        generation.bytes += self._bytes
        return generation.add_rows(self.rows)

    def _add_runs(self, runs: Sequence[Run]) -> Conflict | None:
        known, heads = self._heads, dict[EntityKey, Head]()
        rows: list[RowValue] = []
        direct: dict[EntityKey, tuple[int, int, bytes | None]] = {}
        position, chain, instances = self.ends.position, self.ends.chain, self.ends.instance
        modulus, size = self._modulus, 0
        for run in runs:
            key, before, turns, state = run.key, run.before, run.turns, run.state
            head = heads.get(key) or known.get(key)
            if before != (0 if head is None else head.version):
                return Conflict(key=key, before=before, actual=0 if head is None else head.version)
            if not turns:
                continue
            name = None
            if head is None:
                instances += 1
                name = name_of(key)
                heads[key] = head = Head(instances, 0, None)
            number, last = head.number, turns[-1]
            version = last.before + len(last.events)
            inline = None
            if version != before:
                if is_inline(state):
                    inline = kept = state
                elif state is None or state.payload is None:  # only its version is known, and that is in the row
                    kept = State(version, None, 0, "")
                else:
                    kept = None
                    direct[key] = (number, version, encode(state))
                heads[key] = Head(number, version, kept)
            for part in [(turn,) for turn in turns] if self._by_turn else (turns,):
                position += 1
                last = part[-1]
                after = last.before + len(last.events)
                # The state belongs to the last part that has events.
                of_part = inline if after == version != before else None
                content, of_inline, checksum = encode_run(position, number, before, part, of_part)
                chain = chained(content, chain)
                size += 0 if of_inline is None else len(of_inline)
                more = None if len(part) == 1 else self._hashes(key, part[1:])
                hashed = command_hash(modulus, key, part[0].command.id)
                rows += (position, number, name, before, after - before, hashed, more, content, of_inline, checksum, chain)
                before, name = after, None
        self.ends = Ends(position, chain, instances)
        self.rows += rows
        self._heads.update(heads)
        self._direct.update(direct)
        self._bytes += size
        return None

    def _replace_state(self, key: EntityKey, state: State, content: bytes) -> None:
        head = self._heads.get(key)
        if head is not None and head.version == state.version and state.version > 0:
            self._direct[key] = (head.number, state.version, None if state.payload is None else content)
            self._heads[key] = Head(number=head.number, version=head.version, state=state if is_inline(state) else None)

    def _hashes(self, key: EntityKey, turns: Sequence[Turn]) -> str:
        return msgspec.json.encode([command_hash(self._modulus, key, turn.command.id) for turn in turns]).decode()
