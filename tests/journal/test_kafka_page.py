"""The page on existing clusters says what the code does: topics, settings, properties, rights."""

import re
from pathlib import Path
from typing import get_type_hints

from evento.journal.kafka.access import GROUP_RIGHTS, TOPIC_RIGHTS, Role
from evento.journal.kafka.address import EXAMPLE, PREFIX_CHARS_MAX, KafkaAddress, parse_address
from evento.journal.kafka.clients import COPY_MS, Times
from evento.journal.kafka.security import ALLOWED
from evento.journal.kafka.topics import topics_of_deployment, topics_of_entity
from evento.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/how-to/run-on-an-existing-kafka-cluster.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found
    return found


def rows(title: str) -> list[list[str]]:
    lines = re.findall(r"^\| (.*) \|$", section(title), re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def test_the_address_is_explained_as_it_is_read() -> None:
    assert EXAMPLE in PAGE
    assert parse_address(EXAMPLE)
    defaults = {row[0].strip("`"): row[1].strip("`") for row in rows("Address")}
    plain = KafkaAddress(bootstrap="one:1")
    assert defaults == {name: str(getattr(plain, name)) or "none" for name in plain.__struct_fields__ if name != "bootstrap"}
    assert f"at most {PREFIX_CHARS_MAX}" in section("Address")


def test_every_topic_is_shown_with_its_settings() -> None:
    address = KafkaAddress(bootstrap="one:1", prefix="<prefix>".replace("<", "").replace(">", "") + ".")
    common = {"compression.type": "producer", "unclean.leader.election.enable": "false"}
    shown = {}
    for name, partitions, policy, settings in rows("Topics"):
        pairs = dict(pair.split("=") for pair in re.findall(r"`([^`]+)`", settings))
        own = {"max.message.bytes": "1048576", **pairs, "cleanup.policy": policy.strip("`"), "min.insync.replicas": "2", **common}
        shown[name.strip("`").replace("<prefix>", "prefix.").replace("<namespace>.<Entity>", "bank.Checking")] = (partitions, own)
    counts = {4: "the Entity's", 8: "the deployment's", 1: "1"}
    made = [*topics_of_deployment(address), *topics_of_entity(address, "bank", "Checking", partitions=4)]
    assert shown == {topic.name: (counts[topic.partitions], dict(topic.settings)) for topic in made}
    assert all(f"{name}={value}" in section("Topics") for name, value in common.items())


def test_the_brokers_limits_are_those_of_the_clients() -> None:
    session = get_type_hints(Settings, include_extras=True)["kafka_session_s"].__metadata__[0]
    commits = {each: Times.of_session(each).transaction_ms for each in (session.ge, 15, session.le)}
    assert all(0 <= session_s * 4_000 / 3 - commit_ms < 20 for session_s, commit_ms in commits.items())
    assert f"4/3 of `kafka_session_s`: {Times().transaction_ms}" in section("Brokers")
    assert f"at least {max(COPY_MS, *commits.values())} (" in section("Brokers")
    assert f"{Times().session_ms} lies between" in section("Brokers")


def test_every_property_that_passes_is_listed_and_no_other() -> None:
    lines = re.findall(r"^(?:`[a-z.]+` ?)+$", section("TLS and passwords"), re.M)
    listed = re.findall(r"`([a-z.]+)`", " ".join(lines))
    assert listed == sorted(ALLOWED)


def test_every_role_has_its_rights() -> None:
    table = {next(role for role in Role if row[0].startswith(role)): row for row in rows("Rights")}
    assert set(table) == set(Role)
    words = {right.title().replace("_", "") for right in GROUP_RIGHTS}
    for role, (_, topics, groups, *_) in table.items():
        needed = {right.title().replace("_", "") for rights in TOPIC_RIGHTS[role].values() for right in rights}
        assert set(re.findall(r"`([A-Z]\w+)`", topics)) - {"Create"} == needed, role
        assert set(re.findall(r"`([A-Z]\w+)`", groups)) == words, role
        if role is not Role.NODE:
            assert set(re.findall(r"\.(\w+)`|….(\w+)`", topics)), role
            assert all(f"{kind}`" in topics for kind in TOPIC_RIGHTS[role]), role
