"""How to reach a cluster that wants TLS or to know who asks: properties of Kafka's client, from a file and the environment.

Only properties about reaching the cluster pass. Those that Evento's guarantees rest on are refused, with the reason. Values may be
secrets: nothing here puts one into a message, and what is returned shows none when it is printed.
"""

import difflib
import logging
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evento.errors import SettingsError

logger = logging.getLogger(__name__)

FILE_BYTES_MAX = 256 * 1024
HIDDEN = "***"
_NAME = re.compile(r"[a-z][a-z.]{0,79}")
SECRET = frozenset(
    {
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
ALLOWED = SECRET | {
    "broker.address.family",
    "client.dns.lookup",
    "client.rack",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "https.ca.location",
    "https.ca.pem",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.sigalgs.list",
}
_EXACTLY_ONCE = "Evento sets it: what it promises about exactly once rests on it"
_ASSIGNMENT = "Evento sets it: who owns a partition rests on it"
_TIMES = "Evento sets it, so that it fits the timeout of its transactions"
_REASONS = {
    "acks": _EXACTLY_ONCE,
    "auto.offset.reset": _EXACTLY_ONCE,
    "bootstrap.servers": "the brokers stand in the journal's address",
    "delivery.timeout.ms": _TIMES,
    "enable.auto.commit": _EXACTLY_ONCE,
    "enable.auto.offset.store": _EXACTLY_ONCE,
    "enable.idempotence": _EXACTLY_ONCE,
    "isolation.level": _EXACTLY_ONCE,
    "max.in.flight": _EXACTLY_ONCE,
    "message.timeout.ms": _TIMES,
    "partition.assignment.strategy": _ASSIGNMENT,
    "partitioner": "Evento places each instance itself",
    "request.required.acks": _EXACTLY_ONCE,
    "request.timeout.ms": _TIMES,
    "sasl.jaas.config": "this is Java's; say sasl.mechanism, sasl.username and sasl.password",
    "sasl.kerberos.kinit.cmd": "Evento runs no shell command; Kerberos is not in the client's wheels either",
    "session.timeout.ms": _ASSIGNMENT,
    "socket.timeout.ms": _TIMES,
    "ssl.keystore.type": "this is Java's; ssl.keystore.location is PKCS#12, ssl.certificate.location and ssl.key.location are PEM",
    "ssl.truststore.location": "this is Java's; say ssl.ca.location, a file in PEM",
    "ssl.truststore.password": "this is Java's; ssl.ca.location needs none",
    "transaction.timeout.ms": _TIMES,
    "transactional.id": _EXACTLY_ONCE,
}
_UNCHECKED = {"enable.ssl.certificate.verification": "false", "ssl.endpoint.identification.algorithm": "none"}


class Properties(dict[str, Any]):
    """Properties for Kafka's client. Printed, they show names, and values only of those that are no secret."""

    def redacted(self) -> dict[str, Any]:
        """Return what may be shown."""
        return {name: HIDDEN if name in SECRET else value for name, value in self.items()}

    def scrubbed(self, text: str) -> str:
        """Return a text of the client's without the secrets that may be in it."""
        for name in SECRET & self.keys():
            text = text.replace(str(self[name]), HIDDEN)
        return text

    def __repr__(self) -> str:
        return f"Properties({self.redacted()!r})"


def read_security(file: str, environment: Mapping[str, str]) -> Properties:
    """Return the properties that `file` ("" for none) and, over it, the environment give. Blocks: it reads the file.

    Raises SettingsError with everything that is wrong, by name and line.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in _lines(file) if file else ():
        name, equals, value = (part.strip() for part in line.partition("="))
        where = f"{file}:{number}"
        if not equals or not _NAME.fullmatch(name):  # it may be a line of a key: it is not shown
            problems.append(f"{where}: it is not name=value")
        elif name in found:
            problems.append(f"{where}: {name} is there twice")
        else:
            found[name] = value
            problems += [f"{where}: {problem}" for problem in _problems(name, value)]
    for name, value in environment.items():  # names as they were given
        problems += [f"EVENTO_KAFKA_{name.upper().replace('.', '_')}: {problem}" for problem in _problems(name, value)]
    if problems:
        raise SettingsError("; ".join(problems), setting="kafka_config", problems=problems)
    properties = Properties({**found, **environment})
    for name, value in _UNCHECKED.items():
        if str(properties.get(name, "")).lower() == value:
            logger.warning("%s=%s: anybody on the way can pretend to be the Kafka cluster", name, value)
    return properties


def _lines(file: str) -> Iterator[tuple[int, str]]:
    path = Path(file)
    try:
        with path.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
        open_to_others = path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        text = content.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: it is not UTF-8", setting="kafka_config") from None
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}", setting="kafka_config") from error
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"{file}: it is larger than {FILE_BYTES_MAX} bytes", setting="kafka_config")
    if open_to_others:
        logger.warning("%s can be read by others than its owner: chmod 600", file)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _problems(name: str, value: str) -> list[str]:
    if name in ALLOWED:
        return [] if value else [f"{name} has no value"]
    reason = _REASONS.get(name) or (_ASSIGNMENT if name.startswith("group.") else "")
    if not reason:
        near = difflib.get_close_matches(name, ALLOWED, 1)
        reason = "only properties about reaching the cluster are taken" + (f"; is {near[0]} meant?" if near else "")
    return [f"{name!r} cannot be set: {reason}"]
