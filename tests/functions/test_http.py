"""The client against real sockets and servers that behave badly (catalogue 33, 34, 36, 38)."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from bad_servers import Behaviour, answer, one, read_request, reply_body, saying, serving, spec

from evento.clock import SystemClock
from evento.errors import EventoError, FunctionCrashed, FunctionTimeout, FunctionUnavailable, InvalidFunctionResult
from evento.functions.addresses import Guard
from evento.functions.base import Expected, ExpectedEntity, Operation, Reply
from evento.functions.calling import calling
from evento.functions.codec import RESPONSE_BYTES_MAX
from evento.functions.connection import Address
from evento.functions.http import CONNECTIONS_MAX, HttpFunction
from evento.functions.runtimes import UrlRuntime, address_of
from evento.protocol.envelope import DISCOVERY, encode

GOOD = answer(reply_body())
TLS = ssl.create_default_context()
WAIT_S, HANG_S = 60.0, 600.0


def discovery(**entity: object) -> bytes:
    served = {"namespace": "test", "name": "Counter", "schema": "", "applies": True, "commands": [], "events": []} | entity
    return answer(encode(DISCOVERY, {"protocol": 1, "sdk": "", "revision": "r7", "entities": [served], "single": False}))


def client(socket: Path, expected: Expected | None = None, **fields: object) -> HttpFunction:
    return HttpFunction(spec(**fields), Address(socket=str(socket)), expected or Expected(), SystemClock())


async def call(function: HttpFunction) -> Reply:
    return await function.call(Operation.TURN, "test", "Counter", [one()])


async def outcome(tmp_path: Path, behave: Behaviour, **fields: object) -> EventoError:
    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s", **fields)
        with pytest.raises(EventoError) as caught:
            await call(function)
        function.close()
    return caught.value


async def test_a_good_answer_is_a_reply_and_the_connection_is_kept(tmp_path: Path) -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(GOOD)(reader, writer)

    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s")
        for _ in range(5):
            assert (await call(function)).revision == function.revision == "r1"
        function.close()
    assert connections == 1


@pytest.mark.parametrize(
    "headers", ["content-type: Application/Avro; charset=x\r\n", "Content-Type: application/avro\r\nContent-Encoding: identity\r\n"]
)
async def test_header_names_and_parameters_do_not_matter(tmp_path: Path, headers: str) -> None:
    async with serving(tmp_path / "s", saying(answer(reply_body(), headers=headers))):
        assert (await call(client(tmp_path / "s"))).revision == "r1"


async def test_a_chunked_answer_is_understood(tmp_path: Path) -> None:
    body = reply_body()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/avro\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(tmp_path / "s", saying(head + chunks + b"0\r\n\r\n")):
        assert (await call(client(tmp_path / "s"))).revision == "r1"


async def test_informational_answers_are_passed_over(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + GOOD)):
        assert (await call(client(tmp_path / "s"))).revision == "r1"


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/avro\r\nTransfer-Encoding: chunked\r\n\r\n"
INVALID = {
    "another protocol": (b"220 smtp.example ESMTP\r\n", "not HTTP"),
    "server error": (answer(b"Traceback\x1b[31m", "500 Oops"), r"answered 500, not 200: 'Traceback\\x1b"),
    "not found": (answer(b"", "404 No"), "answered 404, not 200: without a body"),
    "redirect": (answer(b"", "302 Found", "Location: http://169.254.169.254/\r\n"), "answered 302"),
    "flood of informational answers": (b"HTTP/1.1 102 Processing\r\n\r\n" * 100, "informational"),
    "switching protocols": (b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "informational"),
    "JSON": (answer(b"{}", headers="Content-Type: application/json\r\n"), "is application/json, not application/avro"),
    "no content type": (answer(reply_body(), headers=""), "of no content type"),
    "compressed": (answer(b"x", headers="Content-Type: application/avro\r\nContent-Encoding: gzip\r\n"), "encoded as gzip"),
    "garbage": (answer(b"garbage garbage"), "not Avro|follow the envelope"),
    "empty": (answer(b""), "not Avro"),
    "truncated Avro": (answer(reply_body()[:-4]), "not Avro"),
    "trailing bytes": (answer(reply_body() + b"x"), "1 bytes follow"),
    "does not fit": (answer(reply_body(done=[1, 1])), "`done` has 2 elements"),
    "a gigabyte announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "too large: 1073741824 bytes"),
    "length that is no number": (b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n", "not HTTP"),
    "length and chunks": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"0\r\n\r\n", "not HTTP"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "not HTTP"),
    "no length": (b"HTTP/1.1 200 OK\r\nContent-Type: application/avro\r\n\r\n" + reply_body(), "no Content-Length"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "bytes of headers|bytes of them"),
    "a thousand headers": (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(1000)) + b"\r\n",
        "more than 64 headers",
    ),
}


@pytest.mark.parametrize("case", INVALID)
async def test_what_is_not_an_answer_of_the_protocol_is_an_invalid_result(tmp_path: Path, case: str) -> None:
    data, message = INVALID[case]
    error = await outcome(tmp_path, saying(data))
    assert isinstance(error, InvalidFunctionResult), error
    with pytest.raises(InvalidFunctionResult, match=message):
        raise error


async def test_an_endless_chunked_answer_is_cut_at_the_limit(tmp_path: Path) -> None:
    sent = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536

    error = await outcome(tmp_path, behave)
    assert isinstance(error, InvalidFunctionResult) and "too large" in error.message
    assert sent < 2 * RESPONSE_BYTES_MAX


@pytest.mark.parametrize(
    ("status", "headers", "after"),
    [("503 X", "Retry-After: 7\r\n", 7), ("429 X", "", None), ("503 X", "Retry-After: -1\r\n", None)],
)
async def test_not_ready_is_unavailable_and_keeps_retry_after(tmp_path: Path, status: str, headers: str, after: int | None) -> None:
    error = await outcome(tmp_path, saying(answer(b"", status, headers)))
    assert isinstance(error, FunctionUnavailable) and error.details["retry_after_s"] == after


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(FunctionUnavailable, match="No such file"):
        await call(client(tmp_path / "nothing"))
    async with serving(tmp_path / "s", saying(GOOD)):
        pass
    with pytest.raises(FunctionUnavailable):
        await call(client(tmp_path / "s"))
    for url in ("http://127.0.0.1:1", "http://does-not-exist.invalid", "https://127.0.0.1:1"):
        function = HttpFunction(spec(), address_of(url, TLS), Expected(), SystemClock())
        with pytest.raises(FunctionUnavailable, match="no connection to"):
            await call(function)


async def test_a_certificate_that_does_not_verify_is_unavailable(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = Address(host="127.0.0.1", port=port, tls=ssl.create_default_context())
        with pytest.raises(FunctionUnavailable):
            await call(HttpFunction(spec(), address, Expected(), SystemClock()))


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.sleep(HANG_S)


async def hang_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(GOOD[:-3])
    await asyncio.sleep(HANG_S)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    for byte in GOOD:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("behave", [hang, hang_in_the_body, drip])
async def test_an_answer_that_does_not_come_whole_in_time_is_a_timeout(tmp_path: Path, behave: Behaviour) -> None:
    started = asyncio.get_running_loop().time()
    error = await outcome(tmp_path, behave, timeout_s=0.3)
    assert isinstance(error, FunctionTimeout)
    assert asyncio.get_running_loop().time() - started < HANG_S / 2


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", GOOD[:-1], CHUNKED + b"5\r\nab"])
async def test_a_connection_that_ends_in_the_middle_is_a_crash(tmp_path: Path, data: bytes) -> None:
    assert isinstance(await outcome(tmp_path, saying(data, then="close")), FunctionCrashed)


async def test_a_late_answer_of_a_cancelled_call_is_dropped(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await read_request(reader)
            late = b"slow" in body
            if late:
                await release.wait()
            writer.write(answer(reply_body(payloads=[b"late" if late else b"prompt"])))

    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s")
        await call(function)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await function.call(Operation.TURN, "test", "Counter", [one(b"slow")])
        release.set()
        for _ in range(3):
            await asyncio.sleep(0.01)
            reply = await call(function)
            assert reply.instances[0].results[0][0].payload == b"prompt"
        function.close()


async def test_a_call_that_timed_out_is_cancelled_at_the_function_too(tmp_path: Path) -> None:
    hung_up = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        assert await reader.read() == b""
        hung_up.set()

    async with serving(tmp_path / "s", behave):
        with pytest.raises(FunctionTimeout):
            await call(client(tmp_path / "s", timeout_s=1.0))
        async with asyncio.timeout(WAIT_S):
            await hung_up.wait()


async def test_bytes_that_nobody_asked_for_are_never_an_answer(tmp_path: Path) -> None:
    forged = answer(reply_body(payloads=[b"forged"]))
    async with serving(tmp_path / "s", saying(GOOD + forged)):
        function = client(tmp_path / "s")
        for _ in range(3):
            try:
                reply = await call(function)
            except InvalidFunctionResult:
                continue
            assert reply.instances[0].results[0][0].payload == b"p"
            await asyncio.sleep(0.01)
        function.close()


async def test_a_connection_that_was_closed_while_idle_is_replaced(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", saying(GOOD, then="close")):
        function = client(tmp_path / "s")
        for _ in range(3):
            await call(function)
            await asyncio.sleep(0.02)
        function.close()


async def test_a_connection_to_a_host_is_made_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a function that was scaled up behind one name would never see its share of calls."""
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await saying(GOOD)(reader, writer)
        writer.close()

    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    address = Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    async with server:
        function = HttpFunction(spec(), address, Expected(), SystemClock())
        for expected in (1, 1, 1, 2):
            if expected == 2:
                monkeypatch.setattr("evento.functions.http.LIFE_MAX_S", 0.0)
                await call(function)  # the last one on the old connection
            await call(function)
            assert connections == expected
        function.close()


async def test_not_more_than_the_allowed_calls_are_under_way_at_once(tmp_path: Path) -> None:
    under_way = most = 0
    full = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        while True:
            await read_request(reader)
            under_way += 1
            most = max(most, under_way)
            if most == CONNECTIONS_MAX:
                full.set()
            await full.wait()
            await asyncio.sleep(0.01)  # for one too many to come
            under_way -= 1
            writer.write(GOOD)

    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(call(function))
        function.close()
    assert most == CONNECTIONS_MAX


async def test_a_closed_client_calls_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", saying(GOOD)):
        function = client(tmp_path / "s")
        function.close()
        with pytest.raises(FunctionUnavailable, match="stopped"):
            await call(function)


async def test_an_answer_without_a_revision_is_of_the_one_last_seen(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", saying(answer(reply_body(revision="")))):
        assert (await call(client(tmp_path / "s", revision="r0"))).revision == "r0"


async def test_ready_waits_for_the_function_and_learns_its_revision(tmp_path: Path) -> None:
    function = client(tmp_path / "s")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(function.ready())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        async with serving(tmp_path / "s", saying(discovery())):
            await waiting
    assert function.revision == "r7"


async def test_a_function_that_never_gets_ready_is_unavailable_in_time(tmp_path: Path) -> None:
    with pytest.raises(FunctionUnavailable, match=r"not ready within 0\.2 s: no connection to"):
        await client(tmp_path / "s", start_s=0.2).ready()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (answer(b"hello", headers="Content-Type: text/html\r\n"), "is text/html"),
        (
            answer(encode(DISCOVERY, {"protocol": 2, "sdk": "", "revision": "", "entities": [], "single": False})),
            "version 2 of the protocol",
        ),
        (discovery(applies=False), "Entity test/Counter has no apply"),
    ],
)
async def test_a_function_that_serves_something_else_is_refused_at_once(tmp_path: Path, data: bytes, message: str) -> None:
    async with serving(tmp_path / "s", saying(data)):
        function = client(tmp_path / "s", Expected([ExpectedEntity("test", "Counter", applies=True)]))
        with pytest.raises(FunctionUnavailable, match=message):
            await function.ready()
        function.close()


async def test_health_needs_no_free_connection(tmp_path: Path) -> None:
    called = asyncio.Semaphore(0)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            called.release()
            await asyncio.sleep(HANG_S)
        assert b"GET /evento/health HTTP/1.1" in head
        writer.write(answer(b""))

    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s", timeout_s=WAIT_S)
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(call(function)) for _ in range(CONNECTIONS_MAX)]
            for _ in calls:
                await called.acquire()
            assert await function.healthy(WAIT_S / 2)
            for each in calls:
                each.cancel()
        function.close()
    assert not await function.healthy(WAIT_S)


async def test_a_url_function_is_called_over_tcp_below_its_path() -> None:
    lines: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.extend((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n"))
        writer.write(discovery())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with UrlRuntime(SystemClock(), guard=Guard("loopback")).serve(spec(url=f"http://127.0.0.1:{port}/fn/")) as function:
            await function.ready()
            assert function.revision == "r7"
    assert lines[0] == b"GET /fn/evento HTTP/1.1"
    assert b"Host: 127.0.0.1:%d" % port in lines and b"Accept-Encoding: identity" in lines


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "http://",
        "http://user:secret@x",
        "http://x y",
        "http://x\r\nA: b",
        "http://x:99999",
        "http://x?q",
        "file:///etc",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(FunctionUnavailable):
        address_of(url, TLS)


def test_urls_are_addresses() -> None:
    assert address_of("unix:/run/f.sock", TLS) == Address(socket="/run/f.sock")
    assert address_of("http://f", TLS) == Address(host="f", port=80)
    assert address_of("http://[::1]:81/a/", TLS).authority == "[::1]:81"
    secure = address_of("https://f/x", TLS)
    assert (secure.port, secure.base) == (443, "/x") and secure.tls is not None and secure.tls.check_hostname


async def test_a_call_that_is_traced_carries_its_trace_context_and_no_other_does(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(heads[-1].lower().partition(b"content-length:")[2].split()[0]))
            writer.write(GOOD)

    context = f"00-{'a' * 32}-{'b' * 16}-01"
    async with serving(tmp_path / "s", behave):
        function = client(tmp_path / "s")
        with calling(context):
            await call(function)
        await call(function)
        function.close()
    assert f"traceparent: {context}\r\n".encode() in heads[0] and b"traceparent" not in heads[1]
