"""Reading over HTTP: states, histories, outcomes, listings."""

from typing import Any

import pytest
from scripted import Server

ALICE = "/v1/bank/Checking/alice"


@pytest.fixture
async def filled(server: Server) -> Server:
    for number in range(1, 6):
        await deposit(server, "alice", f"{number}.00", f"c{number}")
    return server


async def deposit(server: Server, instance: str, amount: str, command_id: str) -> None:
    headers = {"idempotency-key": command_id, "x-correlation-id": f"for-{command_id}"}
    async with server.session.post(
        f"/v1/bank/Checking/{instance}/ReceiveDeposit", json={"amount": amount}, headers=headers
    ) as response:
        assert response.status == 200


async def get(server: Server, path: str, status: int = 200) -> Any:
    async with server.session.get(path) as response:
        assert response.status == status
        return await response.json(content_type=None)


async def test_an_instance_has_its_state_its_version_and_an_etag(filled: Server) -> None:
    async with filled.session.get(ALICE) as response:
        assert response.headers["ETag"] == '"5"'
        assert await response.json() == {
            "namespace": "bank",
            "entity": "Checking",
            "id": "alice",
            "version": 5,
            "state": {"balance": "15.00"},
        }
    async with filled.session.get(ALICE, headers={"if-none-match": '"4", "5"'}) as response:
        assert response.status == 304


async def test_an_instance_can_be_read_as_of_a_version_or_a_time(filled: Server) -> None:
    assert (await get(filled, f"{ALICE}?version=2"))["state"] == {"balance": "3.00"}
    assert (await get(filled, f"{ALICE}?at=2999-01-01T00:00:00Z"))["version"] == 5
    assert (await get(filled, f"{ALICE}?at=1999-01-01T00:00:00Z", 404))["code"] == "not-found"


@pytest.mark.parametrize(
    "query", ["version=0", "version=x", "version=-1", "version=1&at=2999-01-01T00:00:00Z", "at=now", "version=%D9%A1"]
)
async def test_a_query_that_makes_no_sense_is_400(filled: Server, query: str) -> None:
    assert (await get(filled, f"{ALICE}?{query}", 400))["code"] == "invalid-request"


async def test_a_state_is_avro_if_that_is_preferred(filled: Server) -> None:
    catalog = filled.scripted.registry.catalog
    for accept in ("application/avro", "avro/binary", "application/json;q=0.5, application/avro"):
        async with filled.session.get(ALICE, headers={"accept": accept}) as response:
            assert response.headers["Content-Type"] == "application/avro"
            schema_id = int(response.headers["Evento-Schema"].removeprefix("/v1/schemas/"))
            assert catalog.schema(schema_id).to_json(await response.read()) == {"balance": "15.00"}
            assert await get(filled, response.headers["Evento-Schema"])
    async with filled.session.get(ALICE, headers={"accept": "text/html"}) as response:
        assert response.status == 406


async def test_history_comes_in_pages(filled: Server) -> None:
    first = await get(filled, f"{ALICE}/events?limit=3")
    assert [event["version"] for event in first["events"]] == [1, 2, 3]
    assert first["events"][0] | {"time": ""} == {
        "id": "bank/Checking/alice/1",
        "type": "MoneyReceived",
        "version": 1,
        "time": "",
        "data": {"amount": "1.00"},
        "command_id": "c1",
        "revision": "r1",
        "correlation_id": "for-c1",
    }
    second = await get(filled, f"{ALICE}/events?limit=3&after={first['next']}")
    assert [event["version"] for event in second["events"]] == [4, 5]
    assert second["next"] is None


async def test_outcomes_can_be_looked_up(filled: Server) -> None:
    outcome = await get(filled, f"{ALICE}/commands/c2")
    assert (outcome["outcome"], outcome["version"], outcome["events"][0]["version"]) == ("succeeded", 2, 2)
    assert (await get(filled, f"{ALICE}/commands/unknown", 404))["code"] == "not-found"


async def test_instances_are_listed_in_pages(filled: Server) -> None:
    await deposit(filled, "bob", "1.00", "b")
    await deposit(filled, "carol", "1.00", "c")
    first = await get(filled, "/v1/bank/Checking?limit=2")
    assert [(each["id"], each["version"]) for each in first["instances"]] == [("alice", 5), ("bob", 1)]
    second = await get(filled, f"/v1/bank/Checking?limit=2&after={first['next']}")
    assert ([each["id"] for each in second["instances"]], second["next"]) == (["carol"], None)


async def test_what_does_not_exist_is_404(filled: Server) -> None:
    for path in ("/v1/bank/Checking/nobody", "/v1/bank/Checking/nobody/events", "/v1/bank/Nothing/alice", "/v1/schemas/999"):
        assert (await get(filled, path, 404))["code"] == "not-found"
