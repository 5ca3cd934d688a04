"""Bad input (reliability §7, rows 51 to 53): each is refused with its field and rule, and nothing is stored."""

import asyncio
from typing import Any

import pytest
import yarl
from scripted import Server

DEPOSIT = "/v1/bank/Checking/alice/ReceiveDeposit"
OK = '{"amount": "1.00"}'
DEEP = '{"amount":' + "[" * 70 + "]" * 70 + "}"

BAD = [
    # path, headers, body, status, code, field
    (DEPOSIT, {}, "{", 400, "invalid-request", "body"),
    (DEPOSIT, {}, "[]", 400, "invalid-request", "data"),
    (DEPOSIT, {}, '"x"', 400, "invalid-request", "data"),
    (DEPOSIT, {}, "", 400, "payload-refused", None),
    (DEPOSIT, {}, '{"amount": NaN}', 400, "invalid-request", "body"),
    (DEPOSIT, {}, '{"amount": "x"}', 400, "payload-refused", None),
    (DEPOSIT, {}, '{"amount": "1.00", "other": 1}', 400, "payload-refused", None),
    (DEPOSIT, {}, '{"amount": "1.00", "amount" : "2.00"}', 400, "invalid-request", "amount"),
    (DEPOSIT, {}, '{"amount": "1.00", "note": "a", "note": "\\":"}', 400, "invalid-request", "note"),
    (DEPOSIT, {}, '{"amount": 1e999999999}', 400, "payload-refused", None),
    (DEPOSIT, {}, DEEP, 400, "invalid-request", "body"),
    (DEPOSIT, {}, "[" * 100_000, 400, "invalid-request", "body"),
    (DEPOSIT, {}, b'{"amount": "\xff"}', 400, "invalid-request", "body"),
    (DEPOSIT, {}, '{"amount": "1.00", "note": "\\ud800"}', 400, "invalid-request", "body"),
    (DEPOSIT, {"content-type": "text/plain"}, OK, 415, "unsupported-encoding", "content-type"),
    (DEPOSIT, {"content-type": "application/json; charset=latin-1"}, OK, 415, "unsupported-encoding", "content-type"),
    (DEPOSIT, {"content-encoding": "br"}, OK, 415, "unsupported-encoding", "content-encoding"),
    (DEPOSIT, {"idempotency-key": "a b"}, OK, 400, "invalid-name", "command id"),
    (DEPOSIT, {"idempotency-key": ""}, OK, 400, "invalid-name", "command id"),
    (DEPOSIT, {"idempotency-key": "x" * 129}, OK, 400, "invalid-name", "command id"),
    (DEPOSIT, {"if-match": "7"}, OK, 400, "invalid-request", "if-match"),
    (DEPOSIT, {"if-match": "*"}, OK, 400, "invalid-request", "if-match"),
    (DEPOSIT, {"if-match": 'W/"7"'}, OK, 400, "invalid-request", "if-match"),
    (DEPOSIT, {"if-match": '"7", "8"'}, OK, 400, "invalid-request", "if-match"),
    (DEPOSIT, {"prefer": "wait=soon"}, OK, 400, "invalid-request", "prefer"),
    (DEPOSIT, {"prefer": "wait=-1"}, OK, 400, "invalid-request", "prefer"),
    (DEPOSIT, {"evento-due": "tomorrow"}, OK, 400, "invalid-request", "evento-due"),
    (DEPOSIT, {"evento-due": "2026-05-31T12:00:00"}, OK, 400, "invalid-request", "evento-due"),
    (DEPOSIT, {"traceparent": "00-0-0-0"}, OK, 400, "invalid-request", "traceparent"),
    (DEPOSIT, {"x-correlation-id": "x" * 300}, OK, 400, "invalid-request", "x-correlation-id"),
    ("/v1/bank/Checking/alice/receiveDeposit", {}, OK, 400, "invalid-name", "command"),
    ("/v1/bank/Checking/alice/Unknown", {}, OK, 404, "not-found", None),
    ("/v1/bank/Unknown/alice/ReceiveDeposit", {}, OK, 404, "not-found", None),
    ("/v1/nowhere/Checking/alice/ReceiveDeposit", {}, OK, 404, "not-found", None),
    ("/v1/Bank/Checking/alice/ReceiveDeposit", {}, OK, 400, "invalid-name", "namespace"),
    ("/v1/bank/checking/alice/ReceiveDeposit", {}, OK, 400, "invalid-name", "entity"),
    ("/v1/bank/Checking//ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/" + "x" * 256 + "/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/a%00b/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/a%0Ab/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/a%2Fb/ReceiveDeposit", {}, OK, 400, "invalid-request", "path"),
    ("/v1/bank/Checking/%2E%2E/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/e%CC%81/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/%E2%80%AEx/ReceiveDeposit", {}, OK, 400, "invalid-name", "id"),
    ("/v1/bank/Checking/%FF%FE/ReceiveDeposit", {}, OK, 400, "invalid-request", "path"),
    ("/nothing", {}, OK, 404, "not-found", "path"),
    ("/v1/bank/Checking/alice", {}, OK, 405, "method-not-allowed", None),
    ("/v1/deployments", {}, "{}", 400, "invalid-request", "body"),
    ("/v1/deployments?dry_run=1", {}, "[]", 400, "invalid-request", "dry_run"),
    ("/v1/deployments", {"content-encoding": "gzip"}, "[]", 415, "unsupported-encoding", "content-encoding"),
    ("/v1/commands", {"content-type": "text/csv"}, "", 415, "unsupported-encoding", "content-type"),
]


@pytest.mark.parametrize(("path", "headers", "body", "status", "code", "field"), BAD)
async def test_bad_input_is_a_problem_that_names_the_field(
    server: Server, path: str, headers: dict[str, str], body: str | bytes, status: int, code: str, field: str | None
) -> None:
    url = yarl.URL(server.url + path, encoded=True)
    sent = {"content-type": "application/json", **headers}
    data = body if isinstance(body, bytes) else body.encode()
    async with server.session.post(url, data=data, headers=sent) as response:
        problem: dict[str, Any] = await response.json(content_type=None)
        assert (response.status, problem["code"], problem.get("field")) == (status, code, field), problem
        assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["type"] == f"urn:evento:error:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert not server.scripted.received


async def raw(server: Server, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            try:
                return await reader.read(1 << 16)
            except ConnectionResetError:
                return b""
    finally:
        writer.close()


HEAD = f"POST {DEPOSIT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n".encode()
LENGTH = b"content-length: 18\r\n"
RAW_BAD = {
    "NUL in a header": HEAD + LENGTH + b"idempotency-key: a\0b\r\n\r\n" + OK.encode(),
    "bare CR in a header": HEAD + LENGTH + b"idempotency-key: a\rb\r\n\r\n" + OK.encode(),
    "space before the colon": HEAD + LENGTH + b"idempotency-key : a\r\n\r\n" + OK.encode(),
    "two lengths": HEAD + LENGTH + b"content-length: 17\r\n\r\n" + OK.encode(),
    "length and chunks": HEAD + LENGTH + b"transfer-encoding: chunked\r\n\r\n12\r\n" + OK.encode() + b"\r\n0\r\n\r\n",
    "negative length": HEAD + b"content-length: -1\r\n\r\n",
    "a thousand headers": HEAD + LENGTH + b"".join(b"x-%d: y\r\n" % i for i in range(1000)) + b"\r\n" + OK.encode(),
    "a large header": HEAD + LENGTH + b"x: " + b"y" * 20_000 + b"\r\n\r\n" + OK.encode(),
    "a header without end": HEAD + b"x: " + b"y" * 1_000_000,
    "a target without end": b"GET /" + b"y" * 1_000_000,
    "two ids": HEAD + LENGTH + b"idempotency-key: a\r\nidempotency-key: b\r\n\r\n" + OK.encode(),
    "not HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "a trailer without end": HEAD + b"transfer-encoding: chunked\r\n\r\n12\r\n" + OK.encode() + b"\r\n0\r\nx: " + b"y" * 1_000_000,
}


@pytest.mark.parametrize("name", RAW_BAD)
async def test_what_no_honest_client_sends_is_400(server: Server, name: str) -> None:
    answer = await raw(server, RAW_BAD[name])
    # The connection may break while a flood is still being sent: then the answer is lost, and that is all.
    assert answer.startswith(b"HTTP/1.1 400") or (not answer and len(RAW_BAD[name]) > 500_000), answer[:200]
    assert not server.scripted.received


async def test_the_host_header_is_not_trusted(server: Server) -> None:
    request = b"GET /v1/catalog/ HTTP/1.1\r\nhost: evil/?x=\r\n\r\n"
    answer = await raw(server, request)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"evil" not in answer


async def test_a_method_that_a_path_does_not_know_is_405_and_tells_the_ones_it_knows(server: Server) -> None:
    async with server.session.get(DEPOSIT) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    async with server.session.delete("/v1/catalog") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert (await response.json(content_type=None))["code"] == "method-not-allowed"


async def test_what_only_other_nodes_use_is_not_there_where_no_journal_is_shared(server: Server) -> None:
    for path in ("/peer/commands", "/peer/streams", "/peer/asks"):
        async with server.session.post(path, data=b"\x01") as response:
            assert response.status == 404
