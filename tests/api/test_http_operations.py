"""Operating over HTTP: unfinished Commands, deployments, health, metrics, verify."""

import asyncio
import subprocess
from functools import partial
from typing import Any

from scripted import BANK, NOTE, Server, record, resource

from tests.faults.node import EVENTO


async def ask(server: Server, method: str, path: str, status: int = 200, json: Any = None) -> Any:
    async with server.session.request(method, path, json=json) as response:
        assert response.status == status, await response.text()
        return await response.json(content_type=None) if response.content_type.endswith("json") else await response.text()


async def send(server: Server, instance: str, command_id: str) -> None:
    headers = {"idempotency-key": command_id}
    path = f"/v1/bank/Checking/{instance}/ReceiveDeposit"
    async with server.session.post(path, json={"amount": "1.00"}, headers=headers) as response:
        assert response.status == 202


async def test_unfinished_commands_are_listed_retried_and_discarded(server: Server) -> None:
    await send(server, "poison", "p")
    await send(server, "parked", "q")
    both = await ask(server, "GET", "/v1/pending")
    assert [(each["id"], each["outcome"]) for each in both["pending"]] == [("poison", "pending"), ("parked", "parked")]
    assert [each["command_id"] for each in (await ask(server, "GET", "/v1/pending?parked=true"))["pending"]] == ["q"]
    first = await ask(server, "GET", "/v1/pending?limit=1")
    assert [each["command_id"] for each in (await ask(server, "GET", f"/v1/pending?after={first['next']}"))["pending"]] == ["q"]
    assert both["pending"][1] | {"accepted": ""} == {
        "number": 2,
        "entity": "bank/Checking",
        "id": "parked",
        "command": "ReceiveDeposit",
        "command_id": "q",
        "outcome": "parked",
        "accepted": "",
        "attempts": 3,
        "next_attempt": None,
        "failure": {"code": "function-failed", "message": "division by zero", "function": "bank/functions"},
    }
    await ask(server, "POST", "/v1/bank/Checking/poison/commands/p/retry", 204)
    await ask(server, "POST", "/v1/bank/Checking/parked/commands/q/discard", 204)
    assert (await ask(server, "GET", "/v1/pending"))["pending"] == []
    assert (await ask(server, "GET", "/v1/bank/Checking/parked/commands/q"))["outcome"] == "discarded"
    assert (await ask(server, "POST", "/v1/bank/Checking/parked/commands/q/retry", 404))["code"] == "not-found"


async def test_a_deployment_shows_what_it_would_change_then_changes_it(server: Server) -> None:
    close = resource("Command", "Close", entity="Checking", schema=record("Close"), events=["CashWithdrawn"], handle="functions")
    plan = await ask(server, "POST", "/v1/deployments?dry_run=true", json=[*BANK, close])
    assert (plan["version"], plan["committed"]) == (1, False)
    created = [change["name"] for change in plan["changes"] if change["action"] == "created"]
    assert created == ["Close"]
    assert (await ask(server, "GET", "/v1/catalog"))["version"] == 1
    done = await ask(server, "POST", "/v1/deployments", json=[*BANK, close])
    assert (done["version"], done["committed"]) == (2, True)
    again = await ask(server, "POST", "/v1/deployments", json=[*BANK, close])
    assert (again["version"], again["committed"]) == (2, False)
    catalog = await ask(server, "GET", "/v1/catalog")
    assert {command["name"] for command in catalog["entities"][0]["commands"]} == {"ReceiveDeposit", "WithdrawCash", "Close"}
    schema = await ask(server, "GET", catalog["entities"][0]["schema"])
    assert schema["name"] == "Checking"


async def test_a_new_command_version_is_used_from_the_next_request_on(server: Server) -> None:
    path = "/v1/bank/Checking/alice/ReceiveDeposit"
    await ask(server, "POST", path, 400, json={"amount": "1.00", "reference": "r"})
    fields = {"amount": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}, "note": NOTE}
    schema = record("ReceiveDeposit", **fields)
    schema["fields"].append({"name": "reference", "type": NOTE, "default": None})  # type: ignore[attr-defined]
    changed = resource("Command", "ReceiveDeposit", entity="Checking", schema=schema, events=["MoneyReceived"], handle="functions")
    await ask(server, "POST", "/v1/deployments", json=[changed])
    await ask(server, "POST", path, 200, json={"amount": "1.00", "reference": "r"})


async def test_a_refused_deployment_lists_all_problems(server: Server) -> None:
    wrong = resource("Command", "Close", entity="Nothing", schema=record("Close"), events=["Nobody"], handle="nowhere")
    problem = await ask(server, "POST", "/v1/deployments", 422, json=[wrong])
    assert problem["code"] == "deployment-refused"
    assert len(problem["problems"]) >= 2
    assert all(each["message"] for each in problem["problems"])


async def test_health_tells_alive_from_ready(server: Server) -> None:
    assert await ask(server, "GET", "/livez") == "ok\n"
    assert await ask(server, "GET", "/readyz") == "ready\n"
    server.scripted.ready = False
    assert await ask(server, "GET", "/livez") == "ok\n"
    assert await ask(server, "GET", "/readyz", 503) == "states are being folded again\n"
    health = await ask(server, "GET", "/healthz")
    assert (health["ready"], health["reason"], health["catalog_version"]) == (False, "states are being folded again", 1)


async def test_metrics_are_in_prometheus_format(server: Server) -> None:
    await ask(server, "POST", "/v1/bank/Checking/alice/ReceiveDeposit", json={"amount": "1.00"})
    text = await ask(server, "GET", "/metrics")
    assert 'evento_http_requests_total{route="command",status="200"} 1.0' in text
    assert "# TYPE evento_command_seconds histogram" in text


async def test_verify_tells_every_difference(server: Server) -> None:
    assert await ask(server, "POST", "/v1/verify") == {"ok": True, "differences": [], "stale": 0}
    server.scripted.differences, server.scripted.stale = ["bank/Checking/alice: version 3 is missing"], 7
    assert await ask(server, "POST", "/v1/verify") == {"ok": False, "differences": server.scripted.differences, "stale": 7}


async def test_the_command_line_tells_how_many_states_verify_could_not_compare(server: Server) -> None:
    command = [EVENTO, "verify", "--url", server.url]
    server.scripted.stale = 7
    told = await asyncio.to_thread(partial(subprocess.run, command, capture_output=True, text=True, timeout=180, check=True))
    assert "7 states are of an earlier apply or schema: they are shown to nobody, and not compared with" in told.stderr
    assert told.stderr.endswith("everything agrees\n")
