"""A listener where clients must say who they are (SASL over TLS), on a broker that allows nothing that is not allowed (ACLs).

The broker's other listeners know nobody, and their nobody may do everything: tests give rights there.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka.broker import ROOT, quiet, run_tool
from tests.kafka.properties import Security
from tests.ports import BROKERS, free_port

PAGE = ROOT / "docs/how-to/run-on-an-existing-kafka-cluster.md"
ANSWER_S = 90.0
AGAIN_S = 0.05
STORE_PASSWORD = "changeit"  # noqa: S105 - of a store that lives as long as its test


@dataclass(frozen=True)
class Secured:
    """The listener, and the file with the certificate that it shows, which its clients must trust."""

    listener: Security
    certificate: Path


def secured(folder: Path, users: Mapping[str, str]) -> Secured:
    """Return a listener for these users, with their passwords (PLAIN), and for those that get one later (SCRAM-SHA-256)."""
    store, certificate = folder / "broker.p12", folder / "broker.pem"
    words = ["-alias", "broker", "-keystore", str(store), "-storepass", STORE_PASSWORD, "-storetype", "PKCS12"]
    _keytool("-genkeypair", *words, "-keyalg", "EC", "-dname", "CN=broker", "-ext", "SAN=ip:127.0.0.1", "-validity", "2")
    _keytool("-exportcert", *words, "-rfc", "-file", str(certificate))
    plain = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    here = "listener.name.secure."
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        f"{here}sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        f"{here}plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {plain};",
        f"{here}scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        f"{here}ssl.keystore.type": "PKCS12",
        f"{here}ssl.keystore.location": str(store),
        f"{here}ssl.keystore.password": STORE_PASSWORD,
    }
    return Secured(Security("SASL_SSL", free_port(BROKERS), properties), certificate)


def allow_as_the_page_says(bootstrap: str, user: str) -> None:
    """Give a user the rights of a node by the very commands that an operator reads, with Kafka's own tool."""
    found = re.findall(r"^\$ (kafka-acls\.sh (?:[^\n]*\\\n)*[^\n]*)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(found) == 3
    commands = [
        each.replace("\\\n", " ").replace("broker1:9092", bootstrap).replace("User:evento", f"User:{user}") for each in found
    ]
    with ThreadPoolExecutor() as threads:
        said = list(threads.map(run_tool, commands))
    given = sum(each.partition("Current ACLs")[0].count("permissionType=ALLOW") for each in said)
    _wait_until_known(lambda: len(rights_of(bootstrap, user)) >= given, f"the rights of {user}")


def rights_of(bootstrap: str, user: str) -> list[AclBinding]:
    """Return what a user may do."""
    anything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY
    )
    admin = AdminClient(quiet(bootstrap))
    return list(admin.describe_acls(anything).result(ANSWER_S))


def allow(bootstrap: str, user: str, rights: Iterable[tuple[ResourceType, str, AclOperation]], *, prefixed: bool = False) -> None:
    """Give a user rights on resources, by name or, `prefixed`, by the beginning of their names."""
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    bindings = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW) for kind, name, operation in rights
    ]
    admin = AdminClient(quiet(bootstrap))
    for made in admin.create_acls(bindings).values():
        made.result(ANSWER_S)
    wanted = {(each.restype, each.name, each.operation) for each in bindings}
    _wait_until_known(
        lambda: wanted <= {(each.restype, each.name, each.operation) for each in rights_of(bootstrap, user)},
        f"the rights of {user}",
    )


def set_scram_password(bootstrap: str, user: str, password: str) -> None:
    """Let a user in with a password, by SCRAM-SHA-256."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    admin = AdminClient(quiet(bootstrap))
    for made in admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, info, password.encode())]).values():
        made.result(ANSWER_S)

    def is_known() -> bool:
        try:
            return bool(admin.describe_user_scram_credentials([user])[user].result(ANSWER_S))
        except KafkaException as error:
            if error.args[0].name() == "RESOURCE_NOT_FOUND":
                return False
            raise

    _wait_until_known(is_known, f"the password of {user}")


def _wait_until_known(is_known: Callable[[], bool], what: str) -> None:
    """Wait until the broker itself knows of what was told to the cluster."""
    give_up = time.monotonic() + ANSWER_S
    while not is_known():
        assert time.monotonic() < give_up, f"the broker does not hear of {what}"
        time.sleep(AGAIN_S)


def _keytool(*arguments: str) -> None:
    subprocess.run(["keytool", *arguments], check=True, capture_output=True, timeout=180)
