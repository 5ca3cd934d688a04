"""What a connection carries: answers in order, whole, each with its length; closed when the client asks for it."""

import asyncio
import socket
from contextlib import suppress

import pytest
from scripted import Server, serving

from evento.model.limits import COMMAND_BYTES_MAX

WAIT_S = 60.0
OK = b'{"amount":"1.00"}'


def post(account: str, *more: str, version: str = "1.1") -> bytes:
    head = [f"POST /v1/bank/Checking/{account}/ReceiveDeposit HTTP/{version}", "host: a", f"content-length: {len(OK)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + OK


async def exchange(server: Server, *pieces: bytes) -> bytes:
    """Return all that is answered until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT_S):
            return await reader.read()
    finally:
        writer.close()


async def eventually_received(server: Server) -> None:
    async with asyncio.timeout(WAIT_S):
        while not server.scripted.received:  # noqa: ASYNC110  the scripted platform tells nobody
            await asyncio.sleep(0.01)


def bodies(answers: bytes) -> list[bytes]:
    found = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        length = int(dict(line.lower().split(b": ") for line in head.split(b"\r\n")[1:])[b"content-length"])
        found.append(answers[:length])
        answers = answers[length:]
    return found


async def test_pipelined_commands_are_answered_in_their_order(server: Server) -> None:
    answers = bodies(await exchange(server, post("a") + post("b") + post("c", "connection: close")))
    assert [f"bank/Checking/{account}/1".encode() in body for account, body in zip("abc", answers, strict=True)] == [True] * 3


async def test_an_answer_behind_a_slow_one_waits_for_it(server: Server) -> None:
    asyncio.get_running_loop().call_later(0.1, server.scripted.release.set)
    answers = bodies(await exchange(server, post("slow"), post("b", "connection: close")))
    assert [b"bank/Checking/slow/1" in body for body in answers] == [True, False]


async def test_the_connection_is_closed_for_who_asks_and_for_http_1_0(server: Server) -> None:
    for request in (post("a", "connection: close"), post("a", version="1.0")):
        answer = await exchange(server, request)
        assert b"\r\nconnection: close\r\n" in answer
        assert len(bodies(answer)) == 1


async def test_a_body_that_comes_in_pieces_is_one_command(server: Server) -> None:
    request = post("a", "connection: close")
    pieces = [request[at : at + 40] for at in range(0, len(request), 40)]
    assert len(bodies(await exchange(server, *pieces))) == 1
    assert len(server.scripted.received) == 1


async def test_head_is_answered_with_the_length_and_without_the_body(server: Server) -> None:
    answer = await exchange(server, b"HEAD /v1/catalog HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\ncontent-length: " in head
    assert not body


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(server: Server) -> None:
    request = post("a", "expect: 100-continue", "connection: close")
    answer = await exchange(server, request.removesuffix(OK), OK)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_a_client_that_stops_waiting_for_100_continue_is_told_of_a_refusal_instead(server: Server) -> None:
    request = post("a", "expect: 100-continue", "if-match: 7", "connection: close")
    assert (await exchange(server, request.removesuffix(OK))).startswith(b"HTTP/1.1 400 ")


async def test_thousands_of_refused_commands_in_one_piece_are_answered_one_by_one(server: Server) -> None:
    bad = post("a").replace(b"ReceiveDeposit", b"Unknown")
    asyncio.get_running_loop().call_later(0.1, server.scripted.release.set)
    answers = bodies(await exchange(server, post("slow") + bad * 3000 + post("b", "connection: close")))
    assert [b'"code":"not-found"' in body for body in answers] == [False, *[True] * 3000, False]


async def test_commands_and_reads_on_one_connection_are_answered_in_their_order(server: Server) -> None:
    read = b"GET /v1/bank/Checking/a HTTP/1.1\r\nhost: a\r\n\r\n"
    asyncio.get_running_loop().call_later(0.1, server.scripted.release.set)
    answers = bodies(await exchange(server, post("a") + read + post("slow") + read + post("b", "connection: close")))
    marks = (b"Checking/a/1", b"balance", b"Checking/slow/1", b"balance", b"Checking/b/1")
    assert [mark in body for mark, body in zip(marks, answers, strict=True)] == [True] * 5


async def test_a_body_that_is_too_large_is_refused_in_its_turn_also_behind_a_slow_one(server: Server) -> None:
    asyncio.get_running_loop().call_later(0.1, server.scripted.release.set)
    size = COMMAND_BYTES_MAX + 1
    chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
    large = post("a").replace(b"content-length: 17", b"transfer-encoding: chunked").removesuffix(OK) + chunk + b"0\r\n\r\n"
    answers = bodies(await exchange(server, post("slow") + large + post("b", "connection: close")))
    marks = (b"Checking/slow/1", b'"code":"too-large"', b"Checking/b/1")
    assert [mark in body for mark, body in zip(marks, answers, strict=True)] == [True] * 3


async def test_a_command_goes_on_when_its_sender_goes_away(server: Server) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(post("slow"))
    await eventually_received(server)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    server.scripted.release.set()
    assert b"bank/Checking/b/1" in await exchange(server, post("b", "connection: close"))
    assert {key.id for key in server.scripted.streams} == {"slow", "b"}


async def test_half_a_request_is_no_command(server: Server) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(post("a")[:-1])
    await asyncio.sleep(0.05)
    writer.close()
    await exchange(server, post("b", "connection: close"))
    assert [command.key.id for command in server.scripted.received] == ["b"]


async def test_an_idle_connection_is_closed_but_none_that_waits_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.api.server.KEEP_ALIVE_S", 0.3)
    refused = post("a").replace(b"ReceiveDeposit", b"Unknown")
    async with serving() as server:
        started = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(0.7, server.scripted.release.set)
        assert len(bodies(await exchange(server, refused + post("slow"), b""))) == 2
        assert asyncio.get_running_loop().time() - started >= 1.0


async def test_who_is_owed_an_answer_gets_it_before_the_server_ends() -> None:
    async with serving() as server:
        answer = asyncio.create_task(exchange(server, post("slow")))
        await eventually_received(server)
        asyncio.get_running_loop().call_later(0.3, server.scripted.release.set)
    assert b"bank/Checking/slow/1" in await answer
    assert b"\r\nconnection: close\r\n" in await answer


async def test_a_client_that_does_not_read_its_answers_is_not_read_from(server: Server) -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=client, limit=1024)
    request = post("a").replace(b"ReceiveDeposit", b"Unknown")
    refused = server.platform.metrics.http_requests.bind("refused", "404")
    sent, before = 0, -1.0
    while refused.value != before:  # until nothing more is taken, and not only slowly
        before = refused.value
        with suppress(TimeoutError):
            while True:
                writer.write(request * 100)
                sent += 100
                async with asyncio.timeout(1.0):
                    await writer.drain()
    assert 0 < before < sent
    await asyncio.sleep(0.2)
    assert refused.value == before
    writer.write(post("b", "connection: close"))
    async with asyncio.timeout(WAIT_S):
        answers = await reader.read()
    assert answers.count(b"HTTP/1.1 404") == sent
    assert b"bank/Checking/b/1" in answers
    writer.close()
