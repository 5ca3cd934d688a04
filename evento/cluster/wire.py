"""What nodes say to each other: MessagePack of the platform's own records, a byte for the format ahead. Pure.

Whatever comes in is bounded before it is decoded, and decoded into the types that stand here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from evento import errors
from evento.cluster.signature import TAG_BYTES, Seal
from evento.errors import EventoError, InvalidRequest, Unreachable
from evento.journal.base import InstanceEntry
from evento.model.command import Command, Outcome, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.limits import COMMAND_BYTES_MAX

T = TypeVar("T")

MEDIA_TYPE = "application/vnd.evento.peer"
FORMAT = 2
HELLO = bytes((FORMAT,))
SINGLES_PATH = "/peer/commands"  # each by itself: refused when there is no room
STREAMS_PATH = "/peer/streams"  # of streams: wait for room where they are
ASKS_PATH = "/peer/asks"
PATHS = (SINGLES_PATH, STREAMS_PATH, ASKS_PATH)

SENT_COMMANDS_MAX = 500  # in one frame
SENT_BYTES = 512 * 1024  # payload in one frame, if not one Command alone has more
SENT_FRAME_BYTES_MAX = SENT_BYTES + COMMAND_BYTES_MAX + SENT_COMMANDS_MAX * 4096
TOLD_BYTES = 512 * 1024
TOLD_FRAME_BYTES_MAX = 64 * 1024 * 1024  # one turn may have many large Events
ASK_BYTES_MAX = 16 * 1024
REPLY_BYTES_MAX = 256 * 1024 * 1024
_LENGTH_BYTES = 4


class Sent(Struct, array_like=True, frozen=True, gc=False):
    """A Command for the node that owns its instance. `round` is how often its partition was looked for before."""

    command: Command
    wait_s: float
    round: int


class Problem(Struct, array_like=True, frozen=True):
    """A refusal, by its code."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Told(Struct, array_like=True, frozen=True, gc=False):
    """The answer to the Command that came as number `place`, counted from 0."""

    place: int
    outcome: Outcome | None
    problem: Problem | None = None


class Answers(Struct, array_like=True, frozen=True):
    """A part of the answer: how many Commands were taken or refused so far, what became of some, and which are not for here."""

    taken: int
    told: list[Told] = []
    elsewhere: list[int] = []


class AskState(Struct, array_like=True, frozen=True, tag="state"):
    """See `evento.engine.base.Reads.state`."""

    key: EntityKey
    version: int | None = None
    at_us: int | None = None


class AskStream(Struct, array_like=True, frozen=True, tag="stream"):
    """See `evento.engine.base.Reads.stream`."""

    key: EntityKey
    after: int
    limit: int


class AskOutcome(Struct, array_like=True, frozen=True, tag="outcome"):
    """See `evento.engine.base.Reads.outcome`."""

    key: EntityKey
    command_id: str


class AskRetry(Struct, array_like=True, frozen=True, tag="retry"):
    """See `evento.engine.base.Commands.retry`."""

    key: EntityKey
    command_id: str


class AskDiscard(Struct, array_like=True, frozen=True, tag="discard"):
    """See `evento.engine.base.Commands.discard`."""

    key: EntityKey
    command_id: str


class AskInstances(Struct, array_like=True, frozen=True, tag="instances"):
    """See `evento.engine.base.Reads.instances`; of these partitions only."""

    partitions: tuple[int, ...]
    namespace: str
    entity: str
    after: str
    limit: int


class AskPending(Struct, array_like=True, frozen=True, tag="pending"):
    """See `evento.engine.base.Commands.pending`; of these partitions only."""

    partitions: tuple[int, ...]
    parked: bool | None
    after: int
    limit: int


class AskRefresh(Struct, array_like=True, frozen=True, tag="refresh"):
    """Put in force what was deployed last."""


AskOne = AskState | AskStream | AskOutcome | AskRetry | AskDiscard
AskAll = AskInstances | AskPending
Ask = AskOne | AskAll | AskRefresh

_RESULTS: dict[type, Any] = {
    AskState: State,
    AskStream: tuple[Turn, ...],
    AskOutcome: Outcome,
    AskRetry: None,
    AskDiscard: None,
    AskInstances: tuple[InstanceEntry, ...],
    AskPending: tuple[Pending, ...],
    AskRefresh: None,
}


_NOTHING = Raw(b"\xc0")  # null


class Reply(Struct, array_like=True, frozen=True):
    """The answer to an Ask: a result, a refusal, or that what was asked for is not here."""

    result: Raw = _NOTHING
    problem: Problem | None = None
    elsewhere: bool = False


# The errors that a node may tell of; any other leaves open what happened there.
_ERRORS: dict[str, type[EventoError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EventoError)
}
_TAKEN = ("self", "message")
_encoder = msgspec.msgpack.Encoder(enc_hook=str)
_sent = msgspec.msgpack.Decoder(list[Sent])
_answers = msgspec.msgpack.Decoder(Answers)
_ask = msgspec.msgpack.Decoder(Ask)
_reply = msgspec.msgpack.Decoder(Reply)
_results = {ask: msgspec.msgpack.Decoder(result) for ask, result in _RESULTS.items()}


def problem_of(error: EventoError) -> Problem:
    """Return an error as it is told to another node."""
    return Problem(error.code, error.message, error.details)


def error_of(problem: Problem) -> EventoError:
    """Return the error that another node told of."""
    known = _ERRORS.get(problem.code)
    if known is None:
        return Unreachable(f"the node that owns the instance answered {problem.code[:80]!r}: {problem.message[:400]}")
    return known(problem.message, **{name: value for name, value in problem.details.items() if name not in _TAKEN})


def encode_frame(content: Sequence[Sent] | Answers) -> bytes:
    """Return a frame: the length in four bytes, and the content."""
    return framed(_encoder.encode(content))


def framed(body: bytes) -> bytes:
    """Return a frame with this content."""
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def sealed(part: bytes, seal: Seal) -> bytes:
    """Return what is said, the format or a whole frame, with the tag of a frame behind it."""
    return part if part == HELLO else part + seal.tag(part)


def decode_sent(frame: bytes) -> list[Sent]:
    """Return the Commands of a frame. Raises InvalidRequest."""
    sent = _decoded(_sent, frame)
    if len(sent) > SENT_COMMANDS_MAX:
        raise InvalidRequest(f"a frame has {len(sent)} Commands, more than {SENT_COMMANDS_MAX}")
    return sent


def decode_answers(frame: bytes) -> Answers:
    """Return the answers of a frame. Raises InvalidRequest."""
    return _decoded(_answers, frame)


def encode_ask(ask: Ask) -> bytes:
    """Return the body of a request."""
    return HELLO + _encoder.encode(ask)


def decode_ask(body: bytes) -> Ask:
    """Return what is asked. Raises InvalidRequest."""
    ask: Ask = _decoded(_ask, _checked(body))
    return ask


def encode_reply(result: Any = None, *, problem: EventoError | None = None, elsewhere: bool = False) -> bytes:
    """Return the body of an answer."""
    return HELLO + _encoder.encode(Reply(Raw(_encoder.encode(result)), None if problem is None else problem_of(problem), elsewhere))


def decode_reply(body: bytes) -> Reply:
    """Return an answer. Raises InvalidRequest."""
    return _decoded(_reply, _checked(body))


def decode_result(ask: Ask, result: Raw) -> Any:
    """Return the result of `ask`. Raises InvalidRequest."""
    return _decoded(_results[type(ask)], bytes(result))


def _decoded(decoder: "msgspec.msgpack.Decoder[T]", content: bytes) -> T:
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"not what a node says: {error}") from error


def _checked(body: bytes) -> bytes:
    if body[:1] != HELLO:
        raise InvalidRequest(f"format {body[:1].hex()!r}: must be {HELLO.hex()!r}; the nodes must be of versions that go together")
    return body[1:]


class Frames:
    """Cuts what comes in into frames, behind the byte that tells the format. With a seal each has a tag behind it."""

    def __init__(self, bytes_max: int, seal: Seal | None = None) -> None:
        self._bytes_max = bytes_max
        self._seal = seal
        self._tag_bytes = 0 if seal is None else TAG_BYTES
        self._rest = bytearray()
        self._begun = False

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Give the frames that `part` completes. Raises InvalidRequest: another format, larger than allowed, or a wrong tag."""
        self._rest += part
        if not self._begun and self._rest:
            _checked(bytes(self._rest[:1]))
            del self._rest[:1]
            self._begun = True
        start = 0
        while (body := start + _LENGTH_BYTES) <= len(self._rest):
            length = int.from_bytes(self._rest[start:body], "big")
            if length > self._bytes_max:
                raise InvalidRequest(f"a frame has {length} bytes, more than {self._bytes_max}")
            end = body + length
            if len(self._rest) < end + self._tag_bytes:
                break
            if self._seal is not None:
                self._seal.check(bytes(self._rest[start:end]), bytes(self._rest[end : end + TAG_BYTES]))
            yield bytes(self._rest[body:end])
            start = end + self._tag_bytes
        del self._rest[:start]
