"""One Command as one request (design §10)."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from scripted import Server

from evento.model.command import Command, NewCommand

ALICE = "/v1/bank/Checking/alice"
DEPOSIT = f"{ALICE}/ReceiveDeposit"
WITHDRAW = f"{ALICE}/WithdrawCash"
UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


async def post(server: Server, path: str, json: Any = None, **headers: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.post(path, json={} if json is None else json, headers=named) as response:
        return response.status, await response.json(content_type=None), response.headers


async def test_a_success_tells_the_version_and_the_events(server: Server) -> None:
    status, body, headers = await post(server, DEPOSIT, {"amount": "40.00"})
    assert status == 200
    assert re.fullmatch(UUID7, body["command_id"])
    event = body["events"][0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("time"))
    assert event == {"id": "bank/Checking/alice/1", "type": "MoneyReceived", "version": 1, "data": {"amount": "40.00"}}
    assert (body["outcome"], body["version"], body["duplicate"]) == ("succeeded", 1, False)
    assert headers["ETag"] == '"1"'
    assert headers["Content-Type"] == "application/json"


async def test_numbers_keep_every_digit(server: Server) -> None:
    headers = {"content-type": "application/json"}
    async with server.session.post(DEPOSIT, data=b'{"amount": 1234567890123456.78}', headers=headers) as response:
        assert (await response.json())["events"][0]["data"] == {"amount": "1234567890123456.78"}


async def test_a_rejection_is_422_and_a_problem_with_the_outcome_in_it(server: Server) -> None:
    status, body, headers = await post(server, WITHDRAW, {"amount": 1})
    assert status == body["status"] == 422
    assert headers["Content-Type"] == "application/problem+json"
    assert body["type"] == "urn:evento:error:rejected"
    assert body["title"]
    assert (body["outcome"], body["version"], body["duplicate"]) == ("rejected", 1, False)
    assert body["events"][0]["type"] == "WithdrawalRejected"
    assert body["events"][0]["rejection"] is True


async def test_the_same_id_again_is_marked_as_a_duplicate(server: Server) -> None:
    first = await post(server, DEPOSIT, {"amount": 1}, idempotency_key="d-1")
    again = await post(server, DEPOSIT, {"amount": 1}, idempotency_key='"d-1"')
    assert first[1]["command_id"] == "d-1"
    assert again[1] == {**first[1], "duplicate": True}


async def test_only_a_command_that_came_without_an_id_is_a_new_one(server: Server) -> None:
    await post(server, DEPOSIT, {"amount": 1})
    await post(server, DEPOSIT, {"amount": 1}, idempotency_key="d-1")
    assert [type(command) for command in server.scripted.received] == [NewCommand, Command]


async def test_the_same_id_with_other_content_is_409(server: Server) -> None:
    await post(server, DEPOSIT, {"amount": 1}, idempotency_key="d-1")
    status, body, _ = await post(server, DEPOSIT, {"amount": 2}, idempotency_key="d-1")
    assert (status, body["code"], body["command_id"]) == (409, "id-reused", "d-1")


async def test_an_expected_version_that_is_not_met_is_412(server: Server) -> None:
    assert (await post(server, DEPOSIT, {"amount": 1}, if_match='"0"'))[0] == 200
    status, body, _ = await post(server, DEPOSIT, {"amount": 1}, if_match='"0"')
    assert (status, body["code"], body["version"]) == (412, "version-conflict", 1)


async def test_a_command_that_is_not_finished_is_202_with_a_location_that_tells_its_outcome(server: Server) -> None:
    status, body, headers = await post(server, "/v1/bank/Checking/poison/ReceiveDeposit", {"amount": 1}, idempotency_key="p:1")
    assert (status, body["outcome"], body["version"], body["events"]) == (202, "pending", None, [])
    assert (body["attempts"], body["failure"]["message"]) == (3, "division by zero")
    assert body["next_attempt"].endswith("Z")
    async with server.session.get(headers["Location"]) as response:
        assert response.status == 200
        assert (await response.json())["command_id"] == "p:1"


async def test_overload_is_503_and_says_when_to_come_back_and_with_which_id(server: Server) -> None:
    status, body, headers = await post(server, "/v1/bank/Checking/full/ReceiveDeposit", {"amount": 1})
    assert (status, body["code"]) == (503, "overloaded")
    assert int(headers["Retry-After"]) >= 1
    assert re.fullmatch(UUID7, body["command_id"])


@pytest.mark.parametrize(
    ("prefer", "wait_s", "applied"),
    [
        (None, 10.0, None),
        ("respond-async", 0.0, "respond-async"),
        ("wait=5", 5.0, "wait=5"),
        ("respond-async, wait=5", 5.0, "wait=5"),
        ("wait=3600", 60.0, "wait=60"),
        ("handling=lenient", 10.0, None),
    ],
)
async def test_prefer_says_how_long_to_wait(server: Server, prefer: str | None, wait_s: float, applied: str | None) -> None:
    _, _, headers = await post(server, DEPOSIT, {"amount": 1}, **({"prefer": prefer} if prefer else {}))
    assert server.scripted.waits == [wait_s]
    assert headers.get("Preference-Applied") == applied


async def test_context_and_due_time_travel_with_the_command(server: Server) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    status, *_ = await post(
        server,
        DEPOSIT,
        {"amount": 1},
        traceparent=trace,
        x_correlation_id="order-7",
        x_causation_id="bank/Checking/bob/3",
        evento_due="2026-05-31T14:00:00+02:00",
    )
    assert status == 200
    command = server.scripted.received[0]
    assert command.due_us == 1_780_228_800_000_000
    assert command.context is not None
    assert (command.context.traceparent, command.context.correlation_id) == (trace, "order-7")
    assert command.context.causation_id == "bank/Checking/bob/3"


async def test_nobody_waits_for_what_is_due_later_than_they_would_wait(server: Server) -> None:
    await post(server, DEPOSIT, {"amount": 1}, evento_due="2999-01-01T00:00:00Z")
    await post(server, DEPOSIT, {"amount": 1}, evento_due="1999-01-01T00:00:00Z")
    assert server.scripted.waits == [0.0, 10.0]


async def test_avro_is_taken_as_well_as_json(server: Server) -> None:
    catalog = server.scripted.registry.catalog
    schema = catalog.schema(catalog.command("bank", "Checking", "ReceiveDeposit").schema_id)
    payload = schema.from_json({"amount": "7.00"})
    for media in ("application/avro", "avro/binary"):
        async with server.session.post(DEPOSIT, data=payload, headers={"content-type": media}) as response:
            assert (await response.json())["events"][0]["data"] == {"amount": "7.00"}
    async with server.session.post(DEPOSIT, data=payload + b"\0", headers={"content-type": "application/avro"}) as response:
        assert response.status == 400
        assert (await response.json())["code"] == "payload-refused"


async def test_ids_that_need_escaping_stay_distinct(server: Server) -> None:
    for name in ("caf%C3%A9", "a%20b", "a+b", "%F0%9F%92%B0", "a%2Bc"):
        assert (await post(server, f"/v1/bank/Checking/{name}/ReceiveDeposit", {"amount": 1}))[0] == 200
    ids = {command.key.id for command in server.scripted.received}
    assert ids >= {"café", "a b", "a+b", "💰"}
    assert len(server.scripted.streams) == 5


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(server: Server, chunked: bool) -> None:
    async def parts() -> Any:
        for _ in range(10):
            yield b" " * 30_000

    data = parts() if chunked else b" " * 300_000
    async with server.session.post(DEPOSIT, data=data, headers={"content-type": "application/json"}) as response:
        assert response.status == 413
        assert (await response.json(content_type=None))["code"] == "too-large"
    assert not server.scripted.received


async def test_a_bug_is_500_and_tells_nothing_of_itself(server: Server) -> None:
    status, body, headers = await post(server, "/v1/bank/Checking/broken/ReceiveDeposit", {"amount": 1})
    assert (status, body["code"]) == (500, "internal")
    assert "secret" not in str(body)
    assert headers["Content-Type"] == "application/problem+json"
