"""What stands in deploy/ is what the programs take: the settings are Evento's, the broker's are those of a real one, files exist.

And it runs together, as programs of this machine: no image of the broker, and none with a Python, comes with this repository. What
is changed for that is where things are. What images and containers add (users, rights, restarts) is not tried here.
"""

import asyncio
import fnmatch
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from ruamel.yaml import YAML

from evento.bootstrap import credentials_of
from evento.client import Client
from evento.errors import SettingsError
from evento.functions import child
from evento.journal.kafka import copying, membership
from evento.journal.kafka.address import parse_address
from evento.settings import Settings, read_settings, read_url
from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.clients import read_final
from tests.faults.node import ROOT, Node, eventually
from tests.faults.nodes import Roaming
from tests.kafka.broker import Cluster, quiet, run_tool
from tests.kafka.client import ANSWER_S
from tests.kafka.fixtures import Kafka, need_kafka
from tests.kafka.properties import Ports

FOLDER = ROOT / "deploy"
CONTAINERFILE = (FOLDER / "Containerfile").read_text("utf-8")
NODES = ("node1", "node2")
SECRET = "sixteen characters"  # noqa: S105
SESSION_S = "6"  # the least that brokers allow by default; the file leaves it at 15, and a lost node is waited for so long
HEALTHY_S = 180.0
ACCOUNTS = [f"account-{number}" for number in range(24)]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((FOLDER / "compose.yaml").read_text("utf-8"))
    return dict(found["services"])


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return what a service's program finds in its environment: what the image says, and over it what the file says."""
    said = {name: re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, value) for name, value in service["environment"].items()}
    return {**dict(re.findall(r"\b(EVENTO_\w+)=(\S+)", CONTAINERFILE)), **said}


def settings_of(service: dict[str, Any]) -> Settings:
    return read_settings(environment_of(service))


def broker_properties(service: dict[str, Any]) -> dict[str, str]:
    """Return what the image of the broker makes of its environment."""
    unusual = [name for name in service["environment"] if "__" in name or not name.startswith("KAFKA_")]
    assert not unusual, "the image makes something else of them"
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for name, value in service["environment"].items()}


@pytest.mark.parametrize("name", NODES)
def test_a_nodes_settings_are_taken_and_others_reach_it(name: str, services: dict[str, Any]) -> None:
    settings = settings_of(services[name])
    assert settings.shared
    assert settings.cluster_secret == SECRET
    assert credentials_of(settings).address == f"http://{name}:7070"
    assert f"{settings.data}" in [volume.split(":")[1] for volume in services[name]["volumes"]]
    assert f"127.0.0.1:{settings.port}/readyz" in services[name]["healthcheck"]["test"][-1]
    assert all(port.startswith("127.0.0.1:") and port.endswith(f":{settings.port}") for port in services[name]["ports"])


def test_all_nodes_have_the_same_journal_and_secret_and_nothing_else_in_common(services: dict[str, Any]) -> None:
    first, second = (settings_of(services[name]) for name in NODES)
    assert (first.journal, first.cluster_secret) == (second.journal, second.cluster_secret)
    assert first.address != second.address
    own = [{volume for volume in services[name]["volumes"] if volume.endswith(":/data")} for name in NODES]
    assert own[0] and own[1] and not own[0] & own[1]


def test_without_a_secret_nothing_starts(services: dict[str, Any]) -> None:
    assert ":?" in services["node1"]["environment"]["EVENTO_CLUSTER_SECRET"]
    with pytest.raises(SettingsError):
        read_settings({"EVENTO_CLUSTER_SECRET": "short"})


def test_nodes_run_as_nobody_and_write_only_their_data(services: dict[str, Any]) -> None:
    for name in (*NODES, "deploy"):
        service = services[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(volume.endswith((":ro", ":/data")) for volume in service["volumes"])
    assert re.findall(r"^USER (.*)$", CONTAINERFILE, re.M) == ["65532:65532"]


def test_the_deployment_goes_to_a_node_and_has_the_functions_where_the_nodes_have_them(services: dict[str, Any]) -> None:
    deploy = services["deploy"]
    assert read_url(deploy["environment"]) == settings_of(services["node1"]).address
    verb, source, *_ = deploy["command"]
    assert verb == "deploy"
    mounted = [volume for volume in deploy["volumes"] if all(volume in services[name]["volumes"] for name in NODES)]
    [(place, target, _)] = [volume.split(":") for volume in mounted]
    assert (FOLDER / place / Path(source).relative_to(target)).is_file()


def test_the_broker_is_where_the_nodes_look_and_has_as_many_copies_as_there_are_brokers(services: dict[str, Any]) -> None:
    address = parse_address(settings_of(services["node1"]).journal)
    said = broker_properties(services["kafka"])
    assert f"NODES://{address.bootstrap}" in said["advertised.listeners"].split(",")
    factors = {value for name, value in said.items() if name.endswith(("replication.factor", "min.isr"))}
    assert factors == {str(address.replication)} == {str(address.min_insync)} == {"1"}


def test_a_real_broker_knows_every_property(services: dict[str, Any], kafka: Kafka) -> None:
    asked = [ConfigResource(ResourceType.BROKER, "1")]
    admin = AdminClient(quiet(kafka.bootstrap))  # what it is asked for ends with it
    [found] = admin.describe_configs(asked, request_timeout=ANSWER_S).values()
    assert not broker_properties(services["kafka"]).keys() - found.result(ANSWER_S).keys()


def test_a_node_has_the_time_that_it_takes_to_stop(services: dict[str, Any]) -> None:
    """One after another: requests, Commands, functions, then the journal."""
    for name in NODES:
        stopping_s = 2 * settings_of(services[name]).shutdown_s + child.DRAIN_S + membership.LEAVE_S + copying.STOP_S
        assert stopping_s <= seconds(services[name]["stop_grace_period"]) <= seconds(services["kafka"]["stop_grace_period"])


def seconds(said: str) -> int:
    assert said.endswith("s")
    return int(said.removesuffix("s"))


def test_what_the_image_is_made_of_exists_and_is_sent_to_the_builder() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    copied = [name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.M) for name in line.split()]
    assert {"evento", "requirements/kafka.txt", "requirements/build.txt", "pyproject.toml"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert any(fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in kept), name
    assert CONTAINERFILE.count("--require-hashes") == 2
    assert "==" in (ROOT / "requirements" / "build.txt").read_text("utf-8")


# ------------------------------------------------------------------ the whole
class Here:
    """Where on this machine things are that the file has names for."""

    def __init__(self, broker: Ports, nodes: Mapping[str, Node]) -> None:
        self._places = {f"{name}:7070": f"127.0.0.1:{node.port}" for name, node in nodes.items()}
        self._places |= {"kafka:9092": f"127.0.0.1:{broker.clients}", "/functions/": f"{bank.MODULE.parent}/"}

    def __call__(self, said: str) -> str:
        """Return what the file says, with the places of this machine in it."""
        for name, place in self._places.items():
            said = said.replace(name, place)
        return said


class Composed:
    """What Compose would have started: two nodes, with the bank deployed; and what was sent to them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.first, self.second = nodes
        self.history = History()

    async def deposit(self, what: str, node: Node) -> None:
        """Send a deposit to each account, by one node."""
        commands = [bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"{what}-{account}") for account in ACCOUNTS]
        await self.send(commands, node)

    async def send(self, commands: Sequence[Json], node: Node) -> None:
        answers = await Roaming([node.url], self.history).send_all(commands)
        assert {answer["outcome"] for answer in answers} == {"succeeded"}


def elsewhere(service: dict[str, Any], ports: Ports, folder: Path) -> dict[str, str]:
    """Return the broker's properties, with the ports and a folder of the test's, on this machine."""
    numbers = {"9092": ports.clients, "9093": ports.controller, "9094": ports.proxied[0][1]}
    said = broker_properties(service) | {"log.dirs": str(folder / "log")}
    for name in ("listeners", "advertised.listeners", "controller.quorum.voters"):
        said[name] = re.sub(r":(909\d)\b", lambda found: f":{numbers[found[1]]}", said[name]).replace("kafka:", "127.0.0.1:")
    return said


def wait_healthy(service: dict[str, Any], node: Node) -> None:
    """Ask as the file lets it be asked whether a node is healthy, until it is."""
    _, python, *arguments = service["healthcheck"]["test"]
    assert python == "python3"
    command = [sys.executable, *(part.replace("127.0.0.1:7070", f"127.0.0.1:{node.port}") for part in arguments)]
    for _ in eventually("the node is healthy", HEALTHY_S):
        assert node.running, node.log()[-4000:]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return


@pytest.fixture
def composed(services: dict[str, Any], tmp_path: Path) -> Iterator[Composed]:
    """Each started when what it depends on is healthy, as the file says."""
    need_kafka()
    kafka, deploy = services["kafka"], services["deploy"]
    assert re.findall(r'^(?:ENTRYPOINT|CMD) \["(\w+)"\]$', CONTAINERFILE, re.M) == ["evento", "serve"]
    with ExitStack() as opened:
        broker = opened.enter_context(Cluster(folder=tmp_path, tell=lambda _, ports, folder: elsewhere(kafka, ports[0], folder)))
        [ports] = [each.ports for each in broker.brokers]
        tool, *arguments = kafka["healthcheck"]["test"][1:]
        run_tool(" ".join([Path(tool).name, *arguments]).replace("127.0.0.1:9092", f"127.0.0.1:{ports.clients}"))
        nodes = {name: opened.enter_context(Node(tmp_path / name, env={"EVENTO_KAFKA_SESSION_S": SESSION_S})) for name in NODES}
        here = Here(ports, nodes)
        for name, node in nodes.items():
            node.env |= {variable: here(value) for variable, value in environment_of(services[name]).items()}
            node.spawn()
        for name, node in nodes.items():
            wait_healthy(services[name], node)
        assert here(deploy["environment"]["EVENTO_URL"]) == nodes["node1"].url
        nodes["node1"].evento(*map(here, deploy["command"]))
        yield Composed(list(nodes.values()))


def owners(node: Node) -> set[str | None]:
    """Return which nodes have partitions, as one of them tells."""
    with urllib.request.urlopen(f"{node.url}/healthz") as answer:  # noqa: S310
        return {each["node"] for each in json.load(answer)["partitions"]}


def wait_owned(node: Node, *by: Node) -> None:
    for _ in eventually("all partitions have their owners", HEALTHY_S):
        if owners(node) == {each.url for each in by}:
            return


@pytest.mark.slow
async def test_all_of_it_runs_together_and_goes_on_without_a_node_that_is_killed(composed: Composed) -> None:
    first, second = composed.first, composed.second
    await asyncio.to_thread(wait_owned, first, first, second)
    await composed.send(bank.opening(ACCOUNTS), first)
    await composed.deposit("by-the-other", second)
    second.kill()
    await composed.deposit("without-it", first)
    await asyncio.to_thread(wait_owned, first, first)
    async with Client(first.url) as client:
        found = await read_final(client, bank.CHECKING)
    assert {key: (version, state["balance"]) for (_, key), (version, state) in found.states.items()} == dict.fromkeys(
        ACCOUNTS, (3, "2.00")
    )
    await asyncio.to_thread(first.verify)
    assert await asyncio.to_thread(first.stop) == 0
