"""The program on a cluster that wants TLS and a password, and allows a node what the how-to page says, or less, or no time.

The rights are given by the page's own commands. Brokers allow a transaction so little that copies of replicas have to do with less
than they want.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from evento.journal.kafka.copying import TURNS_MIN
from tests.faults import bank
from tests.faults.checker import History
from tests.faults.clients import Sender
from tests.faults.node import EVENTO, Node, environment, eventually
from tests.faults.nodes import SECRET, SESSION_S, Outside
from tests.faults.test_kafka_health import ask
from tests.faults.topics import Deployment
from tests.kafka import broker
from tests.kafka.fixtures import need_kafka
from tests.kafka.secure import allow, allow_as_the_page_says, rights_of, secured

PASSWORD, WRONG = "hush-of-the-node", "hush-that-is-wrong"
JOURNAL = "kafka://{address}?prefix=acme.&partitions=1&replication=1&min_insync=1"
TRANSACTION_MS = 60_000  # that the brokers allow; copies ask for more, commits for less
REFUSED_S = 180.0
COPY_S = 300.0  # one that fails on a slow machine is tried again after a minute


class Right(NamedTuple):
    """A right, and under which prefix it is missed: on topics that are there, or on those that a node is to make."""

    kind: ResourceType
    operation: AclOperation
    prefix: str = "acme."


# By the user that has all rights of the page but this one: what it is told.
LACKING = {
    "unread": (Right(ResourceType.TOPIC, AclOperation.READ), "READ on topic acme.evento.pending"),
    "unwritten": (Right(ResourceType.TOPIC, AclOperation.WRITE), "WRITE on topic acme.evento.replicas"),
    "undescribed": (Right(ResourceType.TOPIC, AclOperation.DESCRIBE_CONFIGS), "DESCRIBE_CONFIGS on topic acme.evento.catalog"),
    "unmade": (Right(ResourceType.TOPIC, AclOperation.CREATE, "acme.new."), "CREATE on topic acme.new.evento.outcomes"),
    "alone": (Right(ResourceType.GROUP, AclOperation.READ), "READ on group acme.evento"),
    "uncommitted": (Right(ResourceType.TRANSACTIONAL_ID, AclOperation.WRITE), "WRITE on transactional id acme.evento.0"),
}


@dataclass(frozen=True)
class Guarded:
    """The broker. `inside` is where everything is allowed; a node reaches it at `address`, with what `file` says."""

    inside: str
    address: str
    certificate: Path
    folder: Path

    def settings(self, user: str = "node", password: str = PASSWORD) -> dict[str, str]:
        """Return a node's settings; the password stands in its environment alone."""
        lines = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.certificate), "sasl.mechanism": "PLAIN"}
        file = self.folder / f"{user}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in {**lines, "sasl.username": user}.items()))
        file.chmod(0o600)
        return {
            "EVENTO_JOURNAL": JOURNAL.format(address=self.address),
            "EVENTO_KAFKA_SESSION_S": str(SESSION_S),
            "EVENTO_KAFKA_CONFIG": str(file),
            "EVENTO_KAFKA_SASL_PASSWORD": password,
            "EVENTO_CLUSTER_SECRET": SECRET,
            "EVENTO_LOG_LEVEL": "debug",
        }


class Nodes(NamedTuple):
    """Two nodes with their rights; the first has deployed the bank, and neither runs."""

    guarded: Guarded
    first: Node
    second: Node


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    need_kafka()
    folder = tmp_path_factory.mktemp("rights")
    listening = secured(folder, dict.fromkeys(("node", *LACKING), PASSWORD))
    listener = replace(
        listening.listener, properties={**listening.listener.properties, "transaction.max.timeout.ms": str(TRANSACTION_MS)}
    )
    with broker.Cluster(folder=folder / "kafka", security=listener) as cluster:
        allow_as_the_page_says(cluster.bootstrap, "node")
        give_all_but_one(cluster.bootstrap)
        yield Guarded(cluster.bootstrap, cluster.secure_bootstrap, listening.certificate, folder)


def give_all_but_one(bootstrap: str) -> None:
    everything = rights_of(bootstrap, "node")
    assert {(each.restype, each.operation) for each in everything} == {right[:2] for right, _ in LACKING.values()}
    for user, (missing, _) in LACKING.items():
        for each in everything:
            if (each.restype, each.operation) != missing[:2]:
                prefixed = each.resource_pattern_type is ResourcePatternType.PREFIXED
                allow(bootstrap, user, [(each.restype, each.name, each.operation)], prefixed=prefixed)
    allow(bootstrap, "unmade", [(ResourceType.GROUP, "acme.new.evento", AclOperation.READ)])


@pytest.fixture(scope="module")
def nodes(guarded: Guarded) -> Iterator[Nodes]:
    with ExitStack() as opened:
        first, second = (opened.enter_context(Node(guarded.folder / name, env=guarded.settings())) for name in ("first", "second"))
        first.start()
        first.deploy(bank.MODULE)
        assert first.stop() == 0
        yield Nodes(guarded, first, second)


def refused(data: Path, settings: Mapping[str, str]) -> str:
    """Start a node that ends by itself; return what it says, without its log."""
    command = [EVENTO, "serve", "--data", str(data), "--port", "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REFUSED_S, env=environment(**settings), check=False)
    said = done.stdout + done.stderr
    assert (done.returncode, "Traceback" in said) == (1, False), said
    assert not [secret for secret in (PASSWORD, WRONG) if secret in said]
    error, hint = (line for line in said.splitlines() if not line.startswith("{"))
    assert error.startswith("error: ")
    assert hint.endswith("docs/how-to/run-on-an-existing-kafka-cluster.md")
    return error


async def test_with_the_rights_of_the_page_a_node_does_everything_and_shows_no_password(nodes: Nodes) -> None:
    guarded, first, second = nodes
    deployment = Deployment(guarded.inside, "acme.", 1, first.url)
    first.start()
    opened, *deposits = deposits_to("ada", TURNS_MIN)
    await Sender(first.url, History()).send_all([opened])
    await Outside(deployment).send_all(deposits, History(), 0.0)
    for _ in eventually("the replica is copied", COPY_S):
        if "copied its replica" in first.log():
            break
    assert first.log().count(f"a copy of a replica gets {SESSION_S * 4000 / 3:.0f} ms") == 1
    second.start()
    first.kill()
    answers = await Sender(second.url, History()).send_all(deposits_to("ada", 1, "later")[1:])
    assert [answer["version"] for answer in answers] == [TURNS_MIN + 2]
    assert "took a copy of its replica" in second.log()
    second.verify()
    told = [second.evento("status"), *(ask(second, path)[1] for path in ("/healthz", "/metrics")), first.log(), second.log()]
    assert not [text for text in told if PASSWORD in text]
    assert second.stop() == 0


def deposits_to(account: str, count: int, what: str = "first") -> list[bank.Json]:
    opening = bank.command(account, "OpenChecking", {"owner": account, "overdraft_limit": "0.00"}, f"{what}-open")
    return [opening, *(bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"{what}-{n}") for n in range(count))]


@pytest.mark.parametrize("user", LACKING)
def test_a_node_that_lacks_a_right_says_which_and_how_to_give_it_and_ends(user: str, nodes: Nodes, tmp_path: Path) -> None:
    missing, what = LACKING[user]
    settings = nodes.guarded.settings(user)
    said = refused(tmp_path, {**settings, "EVENTO_JOURNAL": settings["EVENTO_JOURNAL"].replace("acme.", missing.prefix)})
    assert f"{what} is missing: kafka-acls.sh --bootstrap-server {nodes.guarded.address} --add " in said
    told = re.findall(r"--allow-principal User:(\w+) --operation (\w+)(?: --resource-pattern-type prefixed)? --([a-z-]+) ", said)
    kind, operation = missing.kind.name.lower().replace("_", "-"), missing.operation.name.title().replace("_", "")
    # Who may read a group may describe it.
    assert {each for each in told if each[1] != "Describe"} == {(user, operation, kind)}


def test_a_node_that_may_not_make_topics_goes_on_where_all_are_there_and_refuses_what_needs_more(
    nodes: Nodes, tmp_path: Path
) -> None:
    branch = tmp_path / "branch.py"
    branch.write_text(bank.MODULE.read_text().replace('Namespace("bank")', 'Namespace("branch")'))
    with Node(tmp_path, env=nodes.guarded.settings("unmade")) as node:
        node.start()
        refusal = node.evento("deploy", str(branch), "--yes", status=1)
        topic = r"topic acme\.branch\.Checking\.events"
        assert re.search(f"{topic} cannot be made: CREATE on {topic} is missing: kafka-acls.sh", refusal)
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("setting", "value", "what"),
    [
        ("KAFKA_SASL_PASSWORD", WRONG, "the cluster does not accept who this is .*Invalid username or password"),
        ("KAFKA_SSL_CA_LOCATION", "{others}", "must be signed by one in ssl.ca.location"),
        ("JOURNAL", JOURNAL, "and name the host that is connected to"),
        ("KAFKA_SESSION_S", "60", "transaction.max.timeout.ms is below .*: 80000 ms are asked for"),
    ],
)
def test_a_node_that_is_not_let_in_says_why_and_ends(setting: str, value: str, what: str, nodes: Nodes, tmp_path: Path) -> None:
    others = secured(tmp_path, {"nobody": "nothing"}).certificate
    address = nodes.guarded.address.replace("127.0.0.1", "localhost")
    settings = {**nodes.guarded.settings(), f"EVENTO_{setting}": value.format(others=others, address=address)}
    assert re.search(what, refused(tmp_path / "data", settings))
