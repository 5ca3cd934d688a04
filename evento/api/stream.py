"""Many Commands in one request: NDJSON in, an outcome per line out, in the order of the lines.

Streams both ways under backpressure: a client that sends slowly gets outcomes as they come, and one that does not read them is not
read from.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from evento.api.body import Receive, Scope, Send, read_parts
from evento.api.headers import check_encoding, found, read_wait
from evento.api.intake import Intake
from evento.api.lines import CHUNK_LINES_MAX, LineParser, LineSplitter
from evento.api.outcomes import Views, encode_lines, refusal
from evento.api.platform import Platform
from evento.api.problems import problem
from evento.engine.stream_order import StreamOrder
from evento.errors import EventoError, UnsupportedEncoding
from evento.model.command import Command, Outcome

# As many as keep functions and journal busy while answers are written; a stream holds some 20 MiB at most.
CHUNKS_UNDER_WAY_MAX = 16
NDJSON = b"application/x-ndjson"
_NDJSON_TYPES = frozenset((NDJSON, b"application/ndjson", b"application/jsonl", b"application/json", b""))

Parsed = Sequence[Command | EventoError]


class Stream:
    """Serves `POST /v1/commands`."""

    def __init__(self, platform: Platform, intake: Intake, views: Views) -> None:
        self._platform = platform
        self._intake = intake
        self._views = views

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream. Each line of the answer is what the line's Command would have got as the body of a single request."""
        seen = found(scope["headers"])
        check_encoding(seen.get(b"content-encoding", b""))
        _check_type(seen.get(b"content-type", b""))
        waits = self._platform.waits
        wait = read_wait(seen.get(b"prefer", b""))
        wait_s = waits.default_s if wait is None else min(wait, waits.max_s)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", NDJSON)]})
        # The writer holds one chunk and the reader another while it waits for room.
        chunks: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(CHUNKS_UNDER_WAY_MAX - 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(_write(chunks, send))
            order = StreamOrder()
            async for parsed in self._read(receive):
                await chunks.put(_start(group, self._run(parsed, wait_s, order)))
            await chunks.put(None)
        await send({"type": "http.response.body", "body": b""})

    async def _read(self, receive: Receive) -> Any:
        splitter, parser = LineSplitter(), LineParser(self._intake)
        async for part in read_parts(receive):
            for block in splitter.feed(part):
                for parsed in _slices(parser.parse(block, self._platform.clock.now_us())):
                    yield parsed
        for block in splitter.end():
            yield parser.parse(block, self._platform.clock.now_us())

    async def _run(self, parsed: Parsed, wait_s: float, order: StreamOrder) -> bytes:
        commands = [item for item in parsed if isinstance(item, Command)]
        try:
            answers: Sequence[Outcome | EventoError] = (
                await self._platform.commands.send_many(commands, wait_s=wait_s, order=order) if commands else ()
            )
        except EventoError as error:
            answers = [error] * len(commands)
            number = order.next_chunk()
            for place, command in enumerate(commands):
                order.refuse(command, (number, place), error)
        tell = self._views.answer
        told: list[Any] = [
            tell(answer)[1] if isinstance(answer, Outcome) else refusal(answer, command)
            for command, answer in zip(commands, answers, strict=True)
        ]
        if len(told) < len(parsed):
            rest = iter(told)
            told = [problem(item) if isinstance(item, EventoError) else next(rest) for item in parsed]
        return encode_lines(told)


def _start(group: asyncio.TaskGroup, work: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
    return group.create_task(work)


async def _write(chunks: "asyncio.Queue[asyncio.Task[bytes] | None]", send: Send) -> None:
    while (chunk := await chunks.get()) is not None:
        await send({"type": "http.response.body", "body": await chunk, "more_body": True})


def _slices(parsed: Parsed) -> Iterator[Parsed]:
    if len(parsed) <= CHUNK_LINES_MAX:
        return iter((parsed,) if parsed else ())
    return (parsed[at : at + CHUNK_LINES_MAX] for at in range(0, len(parsed), CHUNK_LINES_MAX))


def _check_type(media: bytes) -> None:
    if media.partition(b";")[0].strip().lower() not in _NDJSON_TYPES:
        raise UnsupportedEncoding(
            f"content-type {media.decode('latin-1')[:80]!r}: must be application/x-ndjson",
            field="content-type",
            rule="application/x-ndjson",
            value=media.decode("latin-1")[:80],
        )
