"""The reference page on HTTP: every path that it names is served, every path that is served is named, its examples work."""

import json
import re
from pathlib import Path

from scripted import Server

from evento.api.app import create_app

PAGE = (Path(__file__).parents[2] / "docs/reference/http.md").read_text()
REQUESTS = re.findall(r"^\| `(GET|POST) (/\S*)` \|", PAGE, re.MULTILINE)
NAMES = {
    "namespace": "bank",
    "Entity": "Checking",
    "id": "alice",
    "Command": "ReceiveDeposit",
    "command_id": "c",
    "schema_id": "1",
    "path": "subjects",
}


async def test_every_path_on_the_page_is_served(server: Server) -> None:
    assert len(REQUESTS) > 15
    for method, path in REQUESTS:
        async with server.session.request(method, path.format(**NAMES), data=b"") as response:
            text = await response.text()
            assert response.status != 405, path
            assert "nothing is served" not in text, path


async def test_every_path_that_is_served_is_on_the_page(server: Server) -> None:
    named = {re.sub(r"{\w+}", "{}", path) for _, path in REQUESTS}
    served = {re.sub(r"{[\w:]+}", "{}", path) for path in create_app(server.platform).paths}
    assert served == named


async def test_the_example_line_is_a_command(server: Server) -> None:
    line = next(block for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) if block.startswith('{"entity"'))
    async with server.session.post(
        "/v1/commands", data=line.encode(), headers={"content-type": "application/x-ndjson"}
    ) as response:
        assert json.loads(await response.text())["command_id"] == "txn-1"


async def test_the_example_outcome_has_the_members_of_an_outcome(server: Server) -> None:
    shown = json.loads(next(block for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) if '"outcome"' in block))
    async with server.session.post("/v1/bank/Checking/alice/ReceiveDeposit", json={"amount": "40.00"}) as response:
        real = await response.json()
    assert list(shown) == list(real)
    assert list(shown["events"][0]) == list(real["events"][0])
