"""What a connection carries: answers in order, whole, each with its length; closed when the client asks for it."""

import asyncio

from scripted import Server

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
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


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
