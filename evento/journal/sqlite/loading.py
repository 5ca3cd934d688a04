"""Outcomes and states that are kept elsewhere, on their way into the file: many at once, as they came, indexed by the same commit.

What a commit of its own would need (runs, heads in memory, rounds) is not made: a row costs what its columns cost. Instances are
known by name here, as bytes.
"""

from collections.abc import Sequence

import apsw
import msgspec

from evento.journal.outcomes import Outline
from evento.journal.sqlite.connection import ChunkedInsert, SqlValue, one
from evento.journal.sqlite.group import Ends
from evento.journal.sqlite.hashing import named_hash
from evento.journal.sqlite.indexing import index_rows
from evento.journal.sqlite.layout import chained, content_checksum, encode, encode_outcome
from evento.journal.sqlite.rows import KEYS_PER_QUERY, json_of
from evento.model.command import State

KNOWN_BYTES_MAX = 128 * 1024 * 1024  # of the instances whose places are kept in memory
_KNOWN_BYTES = 120  # of one, besides its name
_VERSION_BITS = 40
_VERSION_MASK = (1 << _VERSION_BITS) - 1
_decode_places = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
ToldState = tuple[bytes, State]  # with the instance's name


class Skipped(msgspec.Struct, frozen=True):
    """An outcome that does not follow: the `place` among those that were given, and the version at which its instance is."""

    place: int
    version: int


class Loading:
    """One filling of one file. Nobody else writes it meanwhile, and everything in it is indexed."""

    def __init__(self, connection: apsw.Connection, queries: dict[str, str], modulus: int, shares: int) -> None:
        self._connection = connection
        self._queries = queries
        self._modulus = modulus
        self._insert = ChunkedInsert(queries["load_run"])
        self._put = ChunkedInsert(queries["put_instance"])
        self._known: dict[bytes, int] = {}  # an instance's number, and its version in the lowest bits: one object, not three
        self._bytes = 0
        self._bytes_max = KNOWN_BYTES_MAX // shares
        self._complete = one(connection, queries["last_instance"]) == 0  # then nothing needs to be looked up in the file

    def load(self, ends: Ends, outlines: Sequence[Outline], outcomes: Sequence[bytes]) -> tuple[Ends, list[int]] | Skipped:
        """Append turns to the log, in an open commit. Returns where it ends then, and the hashes of the Commands; nothing is
        written if one does not follow."""
        self._learn([outline[0] for outline in outlines])
        known, modulus = self._known, self._modulus
        position, chain, instances = ends.position, ends.chain, ends.instance
        rows: list[SqlValue] = []
        hashes: list[int] = []
        for outcome, (name, command_id, before, events) in zip(outcomes, outlines, strict=True):
            place = known.get(name)
            position += 1
            if place is None:
                instances += 1
                number, version, text = instances, 0, name.decode()
                self._bytes += len(name) + _KNOWN_BYTES
            else:
                number, version, text = place >> _VERSION_BITS, place & _VERSION_MASK, None
            if version != before:
                self.forget()  # what was counted is not stored
                return Skipped(place=position - ends.position - 1, version=version)
            known[name] = number << _VERSION_BITS | before + events
            content = encode_outcome(position, number, before, outcome)
            chain = chained(content, chain)
            hashed = named_hash(modulus, name, command_id)
            hashes.append(hashed)
            rows += (position, number, text, before, events, hashed, content, chain)
        self._insert(self._connection, rows)
        index_rows(self._connection, self._queries, ends.position, position)
        return Ends(position=position, chain=chain, instance=instances), hashes

    def put(self, states: Sequence[ToldState], *, newest: bool = False) -> int | None:
        """Put in the states that are the latest of their instances, in an open commit. `newest`: none, where one is older.

        Returns the place of the first that is newer than all turns of its instance, if there is one: then nothing is written.
        """
        self._learn([state[0] for state in states])
        find = self._known.get
        rows: list[SqlValue] = []
        for at, (name, state) in enumerate(states):
            place, version = find(name, 0), state.version
            latest = place & _VERSION_MASK
            if version == latest:
                number, content = place >> _VERSION_BITS, encode(state)
                rows += (number, name.decode(), version, content, content_checksum(number, content))
            elif version > latest:
                return at
            elif newest:
                rows += (place >> _VERSION_BITS, name.decode(), latest, None, 0)
        self._put(self._connection, rows)
        return None

    def forget(self) -> None:
        """Forget what is known in memory."""
        self._known.clear()
        self._bytes, self._complete = 0, False

    def _learn(self, names: Sequence[bytes]) -> None:
        """Look up in the file the instances that are not known."""
        if self._bytes > self._bytes_max:
            self.forget()
        if self._complete:
            return
        known = self._known
        wanted = list(dict.fromkeys([name for name in names if name not in known]))
        for start in range(0, len(wanted), KEYS_PER_QUERY):
            part = wanted[start : start + KEYS_PER_QUERY]
            text = one(self._connection, self._queries["find_places"], (json_of([name.decode() for name in part]),))
            for at, number, version in _decode_places(text):
                known[part[at]] = number << _VERSION_BITS | version
                self._bytes += len(part[at]) + _KNOWN_BYTES
