"""States that are larger than a node's memory may become: on Kafka and in replicas, and only few of them at hand.

They hardly shrink when they are compressed: a broker answers with so many compressed bytes, whatever becomes of them.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from evento.client import Client
from tests.faults.checker import History, Json
from tests.faults.node import Node
from tests.faults.nodes import Nodes, Roaming, running
from tests.kafka.fixtures import Running, delete_topics

PAGE_LINES = 1_563  # of 64 characters: 100 kB
FEW, MANY = 1_500, int(os.environ.get("EVENTO_ALBUMS", "4000"))  # 150 MB of states, more than a node keeps; and 400 MB
IN_FLIGHT = 100  # what is under way is in memory, several times
GROWTH_MIB_MAX = 125  # half of what the further states have
READING_MIB_MAX = 400  # what reading the topics takes besides, however many states there are: 9,000 took no more
_ALBUMS = f'''
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from evento.sdk import Namespace

albums = Namespace("albums")


@albums.entity
@dataclass(frozen=True)
class Album:
    """A large page."""

    page: str = ""


@albums.event(Album)
@dataclass(frozen=True)
class Filled:
    """The page is full."""

    letter: str


@albums.command(Album)
@dataclass(frozen=True)
class Fill:
    """Fill the page."""

    letter: str


@albums.handle
def fill(command: Fill, album: Album | None) -> Filled:
    return Filled(command.letter)


@albums.apply
def filled(event: Filled, album: Album | None) -> Album:
    return Album(page(event.letter))


@cache
def page(letter: str) -> str:
    return "".join(sha256(f"{{letter}}{{number}}".encode()).hexdigest() for number in range({PAGE_LINES}))
'''


@pytest.fixture
def nodes(kafka_broker: Running, tmp_path: Path) -> Iterator[Nodes]:
    prefix = f"t{secrets.token_hex(4)}."
    module = tmp_path / "albums.py"
    module.write_text(_ALBUMS)
    with running(tmp_path, kafka_broker.bootstrap, prefix, count=1, module=module) as nodes:
        yield nodes
    delete_topics(kafka_broker.bootstrap, prefix)


async def test_states_larger_than_memory_are_kept_read_and_restored(nodes: Nodes) -> None:
    [node] = nodes.nodes
    await fill(node, 0, FEW, "a")
    few_mib = resident_mib(node)
    await fill(node, FEW, MANY, "a")
    await look(node, "a")
    assert resident_mib(node) - few_mib < GROWTH_MIB_MAX

    nodes.replace(0)
    await look(node, "a")
    await fill(node, 0, MANY, "b")
    assert resident_mib(node) - few_mib < GROWTH_MIB_MAX + READING_MIB_MAX
    assert {event["version"] for event in (await history(node, MANY - 1))} == {1, 2}


async def fill(node: Node, first: int, end: int, letter: str) -> None:
    commands: list[Json] = [
        {
            "entity": "albums/Album",
            "id": str(number),
            "command": "Fill",
            "data": {"letter": letter},
            "command_id": f"{letter}-{number}",
        }
        for number in range(first, end)
    ]
    answers = await Roaming([node.url], History(), in_flight_max=IN_FLIGHT).send_all(commands)
    assert {answer["outcome"] for answer in answers} == {"succeeded"}


async def look(node: Node, letter: str) -> None:
    """Read every state, and insist that it is what was sent last."""
    expected = page(letter)
    async with Client(node.url) as client:
        for start in range(0, MANY, 50):
            found = await asyncio.gather(*(client.get(f"albums/Album/{number}") for number in range(start, start + 50)))
            assert [each["state"]["page"] == expected for each in found] == [True] * 50


async def history(node: Node, number: int) -> list[Json]:
    async with Client(node.url) as client:
        return list((await client.events(f"albums/Album/{number}"))["events"])


def page(letter: str) -> str:
    return "".join(sha256(f"{letter}{number}".encode()).hexdigest() for number in range(PAGE_LINES))


def resident_mib(node: Node) -> int:
    """Return the resident memory of the platform's process, without its functions."""
    lines = Path(f"/proc/{node.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))
