"""What reaches Kafka's client from outside: properties about reaching the cluster, no others, and no secret in any text."""

import logging
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from evento.errors import SettingsError
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster, admin_properties
from evento.journal.kafka.failures import Call, error_of, failure_of
from evento.journal.kafka.security import ALLOWED, SECRET, Properties, read_security

HUSH = "hunter2-and-more"


def written(folder: Path, text: str, *, mode: int = 0o600) -> str:
    file = folder / "kafka.properties"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_without_file_and_environment_nothing_is_said() -> None:
    assert read_security("", {}) == {}


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "# ours\n\n security.protocol = SASL_SSL \nsasl.username=us\nsasl.password=a=b#c\n")
    properties = read_security(file, {"sasl.username": "them"})
    assert properties == {"security.protocol": "SASL_SSL", "sasl.username": "them", "sasl.password": "a=b#c"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("enable.idempotence=false", "exactly once"),
        ("acks=1", "exactly once"),
        ("transactional.id=mine", "exactly once"),
        ("isolation.level=read_uncommitted", "exactly once"),
        ("enable.auto.commit=true", "exactly once"),
        ("auto.offset.reset=latest", "exactly once"),
        ("group.id=mine", "owns a partition"),
        ("group.instance.id=mine", "owns a partition"),
        ("partitioner=random", "places"),
        ("transaction.timeout.ms=1", "timeout"),
        ("bootstrap.servers=x:1", "address"),
        ("ssl.truststore.location=/x", "ssl.ca.location"),
        ("sasl.kerberos.kinit.cmd=rm -r x", "shell"),
        ("sasl.pasword=x", "sasl.password"),
        ("plugin.library.paths=x.so", "only properties about reaching the cluster"),
        ("sasl.username=", "no value"),
        ("sasl.username=a\nsasl.username=b", "twice"),
        ("nothing", "name=value"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason_and_the_line(line: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.properties:[12]") as error:
        read_security(written(tmp_path, line), {})
    assert what in error.value.message


def test_all_that_is_wrong_is_told_at_once_by_the_names_it_was_given_under(tmp_path: Path) -> None:
    file = written(tmp_path, "acks=1\nsasl.username=us\nretries=3\n")
    with pytest.raises(SettingsError) as error:
        read_security(file, {"group.id": "x"})
    assert len(error.value.details["problems"]) == 3
    for part in (f"{file}:1", f"{file}:3", "EVENTO_KAFKA_GROUP_ID"):
        assert part in error.value.message


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * 300_000], ids=["not-text", "too-large"])
def test_a_file_that_is_none_of_ours_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"kafka\.properties"):
        read_security(str(file), {})
    with pytest.raises(SettingsError, match="No such file"):
        read_security(str(tmp_path / "nothing"), {})


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_warned_about(
    mode: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_security(written(tmp_path, f"sasl.password={HUSH}", mode=mode), {})
    assert ("chmod 600" in caplog.text) is warned
    assert HUSH not in caplog.text


@pytest.mark.parametrize("line", ["enable.ssl.certificate.verification=false", "ssl.endpoint.identification.algorithm=none"])
def test_not_checking_who_the_broker_is_is_warned_about(line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_security(written(tmp_path, line), {})
    assert "pretend" in caplog.text


@pytest.mark.parametrize("text", [f"{HUSH}", f"{HUSH}==", f"sasl.password={HUSH}\nacks=1", f"sasl.pasword={HUSH}"])
def test_no_error_about_a_file_shows_a_secret(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read_security(written(tmp_path, text), {})
    assert HUSH not in str(error.value) + repr(error.value) + repr(error.value.details)


@pytest.mark.parametrize("name", sorted(SECRET))
def test_no_secret_is_printed(name: str) -> None:
    properties = Properties({name: HUSH, "client.rack": "shown"})
    for text in (repr(properties), str(properties), f"{properties}", repr({"p": properties}), repr(properties.redacted())):
        assert HUSH not in text
        assert "shown" in text
    whole = Cluster(address=parse_address("kafka://one:1"), security=properties, client_id="node")
    assert HUSH not in repr(whole) + repr(admin_properties(whole))


def test_no_error_of_the_client_shows_a_secret() -> None:
    told = Properties({"sasl.password": HUSH})
    raised = KafkaException(KafkaError(KafkaError._INVALID_ARG, f"cannot do with {HUSH}"))
    failure = failure_of(Call.ADMIN, raised, told=told)
    assert "cannot do with ***" in failure.message
    assert HUSH not in failure.message + repr(error_of(failure)) + repr(failure)


def test_the_client_knows_every_property_that_passes(caplog: pytest.LogCaptureFixture) -> None:
    """None that it does not have, and none that could be set to something dangerous without our knowing it."""
    unknown = []
    for name in sorted(ALLOWED):
        try:
            AdminClient({name: "no value that fits", "log_level": 0, "logger": logging.getLogger("test")})
        except KafkaException as error:
            if "No such configuration property" in str(error):
                unknown.append(name)
        except (TypeError, ValueError):
            pass
    assert unknown == []
