"""Many Commands in one request: NDJSON both ways, in order, under backpressure."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from scripted import Server

from evento.api.lines import LINE_BYTES_MAX, LineSplitter
from evento.api.stream import CHUNKS_UNDER_WAY_MAX


def line(instance: str = "alice", amount: object = "1.00", **more: object) -> bytes:
    fields = {"entity": "bank/Checking", "id": instance, "command": "ReceiveDeposit", "data": {"amount": amount}, **more}
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


async def stream(server: Server, data: Any, **headers: str) -> list[dict[str, Any]]:
    sent = {"content-type": "application/x-ndjson", **headers}
    async with server.session.post("/v1/commands", data=data, headers=sent) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        return [json.loads(each) for each in (await response.read()).splitlines()]


async def test_each_line_gets_its_outcome_in_order(server: Server) -> None:
    answers = await stream(server, b"".join(line(f"a{number % 7}", command_id=f"c{number}") for number in range(2500)))
    assert [answer["command_id"] for answer in answers] == [f"c{number}" for number in range(2500)]
    assert answers[-1]["version"] == 358
    assert {answer["outcome"] for answer in answers} == {"succeeded"}


async def test_a_bad_line_costs_only_itself_and_is_told_with_its_number(server: Server) -> None:
    data = b"".join(
        [
            line(command_id="a"),
            b"\n",
            b"not json\n",
            line(command_id="b", amount="x"),
            line(command_id="c", surplus=1),
            b'{"entity":"bank/Checking","id":"alice"}\n',
            line(command_id="no spaces"),
            line(entity="Checking"),
            line(command="Unknown"),
            line(expected_version=-1),
            line(due="tomorrow"),
            line().replace(b'"id":', b'"id": "bob", "id":'),
            line().replace(b'"1.00"', b'"1.00", "amount": "2.00"'),
            line(command_id="z"),
        ]
    )
    answers = await stream(server, data)
    assert [answer.get("line", "ok") for answer in answers] == ["ok", 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, "ok"]
    codes = [answer.get("code") for answer in answers]
    assert codes[1:-1] == [
        "invalid-request",
        "payload-refused",
        "invalid-request",
        "invalid-request",
        "invalid-name",
        "invalid-request",
        "not-found",
        "invalid-request",
        "invalid-request",
        "invalid-request",
        "invalid-request",
    ]
    assert answers[2]["command_id"] == "b"
    assert answers[2]["status"] == 400
    assert [command.id for command in server.scripted.received] == ["a", "z"]


async def test_a_key_twice_is_seen_also_where_another_line_lacks_it_or_has_colons(server: Server) -> None:
    twice = line(command_id="twice").replace(b'"data":', b'"data": {"amount": "9.00"}, "data":')
    lacking = b'{"entity": "bank/Checking", "id": "alice", "command": "ReceiveDeposit"}\n'
    for other in (lacking, line("a:b"), line("a:b").replace(b"a:b", b"a\\u003ab"), line(command_id="c:1"), line(note="1:2")):
        answers = await stream(server, twice + other)
        assert (answers[0].get("code"), answers[0].get("field"), answers[0].get("line")) == ("invalid-request", "data", 1)
    assert "twice" not in [command.id for command in server.scripted.received]


async def test_lines_may_have_colons_and_any_of_the_keys(server: Server) -> None:
    times, ids = {"due": "2026-05-31T12:00:00Z"}, {"correlation_id": "a:b", "causation_id": "c"}
    data = line("a:b", command_id="c:1") + line(expected_version=0, **ids) + line("e", **times) + line("f", command_id=None)
    answers = await stream(server, data + line("g", data={"note": '":', "amount": "1.00"}))
    assert [answer["outcome"] for answer in answers] == ["succeeded"] * 5
    assert [command.key.id for command in server.scripted.received] == ["a:b", "alice", "e", "f", "g"]


async def test_a_line_is_answered_with_what_a_single_request_would_have_got(server: Server) -> None:
    withdraw = line(command="WithdrawCash", command_id="w")
    first = await stream(server, withdraw + line("full", command_id="f") + line("poison") + line(expected_version=7))
    assert [answer.get("status") for answer in first] == [422, 503, None, 412]
    assert (first[0]["outcome"], first[0]["type"]) == ("rejected", "urn:evento:error:rejected")
    assert (first[1]["code"], first[1]["command_id"]) == ("overloaded", "f")
    assert (first[2]["outcome"], first[2]["attempts"]) == ("pending", 3)
    assert (await stream(server, withdraw))[0] == {**first[0], "duplicate": True}


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_lines_may_come_in_any_pieces(server: Server, step: int) -> None:
    data = b"".join(line("müller", command_id=f"n{number}") for number in range(20))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), step):
            yield data[at : at + step]

    assert [answer["command_id"] for answer in await stream(server, pieces())] == [f"n{number}" for number in range(20)]


async def test_a_last_line_without_a_break_counts(server: Server) -> None:
    assert [answer["outcome"] for answer in await stream(server, (line() + line()).rstrip())] == ["succeeded"] * 2
    assert await stream(server, b"") == []


async def test_a_line_that_is_too_long_is_skipped(server: Server) -> None:
    long = line(note="x" * (2 * LINE_BYTES_MAX))
    answers = await stream(server, line() + long + line())
    assert [(answer.get("code"), answer.get("line")) for answer in answers] == [(None, None), ("too-large", 2), (None, None)]


async def test_a_slow_client_gets_outcomes_as_they_come(server: Server) -> None:
    told = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            yield line(command_id=f"s{number}")
            async with asyncio.timeout(60):
                await told.wait()
            told.clear()

    headers = {"content-type": "application/x-ndjson"}
    async with server.session.post("/v1/commands", data=lines(), headers=headers) as response:
        for number in range(3):
            answer = json.loads(await response.content.readline())
            assert answer["command_id"] == f"s{number}"
            told.set()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110  the scripted platform tells nobody
            await asyncio.sleep(0.01)


async def test_few_chunks_are_under_way_and_the_rest_is_not_read(server: Server) -> None:
    sent = 0
    large = line("slow", data={"amount": 1, "note": "x" * 20_000})  # 40 MB: more than sockets buffer

    async def lines() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            yield large
            sent += 1

    headers = {"content-type": "application/x-ndjson"}
    async with server.session.post("/v1/commands", data=lines(), headers=headers) as response:
        await until(lambda: server.scripted.under_way_max > 1)
        await asyncio.sleep(0.5)  # for one too many to come
        assert 1 < server.scripted.under_way_max <= CHUNKS_UNDER_WAY_MAX
        assert sent < 2000  # the rest waits in the client
        server.scripted.release.set()
        count = len((await response.read()).splitlines())
    assert count == 2000


async def stalled(send: Callable[[], None], drain: Callable[[], Awaitable[None]], seen: Callable[[], int]) -> int:
    """Send until nothing is taken any more, neither from the connection nor behind it; return what was seen by then."""
    before = -1
    async with asyncio.timeout(60):
        while True:
            try:
                async with asyncio.timeout(1.0):
                    send()
                    await drain()
            except TimeoutError:
                if seen() == before:  # it was not only slow
                    return before
                before = seen()


async def test_a_client_that_does_not_read_is_not_read_from(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(
        b"POST /v1/commands HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    block = line() * 500
    piece = b"%x\r\n%b\r\n" % (len(block), block)
    received = await stalled(lambda: writer.write(piece), writer.drain, lambda: len(server.scripted.received))
    await asyncio.sleep(0.3)
    assert len(server.scripted.received) == received > 0
    assert reader
    writer.transport.abort()


async def test_a_client_that_goes_away_leaves_nothing_running(server: Server) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/commands HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    block = line()
    writer.write(b"%x\r\n%b\r\n" % (len(block), block))
    await writer.drain()
    await until(lambda: bool(server.scripted.received))
    writer.transport.abort()
    await until(lambda: not [task for task in asyncio.all_tasks() if "Stream" in repr(task.get_coro())])


async def test_the_wait_is_that_of_the_stream(server: Server) -> None:
    await stream(server, line(), prefer="wait=0")
    assert server.scripted.waits == [0.0]


def test_the_splitter_loses_and_invents_nothing() -> None:
    data = b"".join(b"%d" % number * (number % 50) + b"\n" for number in range(9000)) + b"end"
    for step in (1, 13, 70_000, len(data)):
        splitter = LineSplitter()
        blocks = [block for at in range(0, len(data), step) for block in splitter.feed(data[at : at + step])]
        assert all(block.endswith(b"\n") for block in blocks)
        assert b"".join([*blocks, *splitter.end()]) == data
