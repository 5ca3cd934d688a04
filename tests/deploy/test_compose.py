"""What stands in deploy/ is what the programs take: the settings are Evento's, the broker's are those of a real one, files exist.

That it runs is not tried here: no image of the broker, and none with a Python, comes with this repository.
"""

import fnmatch
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from ruamel.yaml import YAML

from evento.bootstrap import credentials_of
from evento.errors import SettingsError
from evento.journal.kafka.address import parse_address
from evento.settings import Settings, read_settings, read_url
from tests.faults.node import ROOT
from tests.kafka.broker import LIBS, quiet
from tests.kafka.client import ANSWER_S
from tests.kafka.fixtures import Kafka

FOLDER = ROOT / "deploy"
CONTAINERFILE = (FOLDER / "Containerfile").read_text("utf-8")
NODES = ("node1", "node2")
SECRET = "sixteen characters"  # noqa: S105
FORMAT_S = 90.0


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((FOLDER / "compose.yaml").read_text("utf-8"))
    return dict(found["services"])


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"\b(EVENTO_\w+)=(\S+)", CONTAINERFILE))


def settings_of(service: dict[str, Any]) -> Settings:
    """Return a node's settings: those of the image, with those of the file over them."""
    said = {name: re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, value) for name, value in service["environment"].items()}
    return read_settings({**image_environment(), **said})


def broker_properties(service: dict[str, Any]) -> dict[str, str]:
    """Return what the image of the broker makes of its environment."""
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


def test_a_real_broker_accepts_them_together(services: dict[str, Any], kafka: Kafka, tmp_path: Path) -> None:
    said = broker_properties(services["kafka"]) | {"log.dirs": str(tmp_path / "data")}
    (tmp_path / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    tool = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*", "kafka.tools.StorageTool"]
    command = [*tool, "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(tmp_path / "server.properties")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FORMAT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr


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
