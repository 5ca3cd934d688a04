"""The address of a journal on Kafka: which brokers, which topics, how many partitions and copies. It reaches nobody."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from evento.errors import SettingsError

PARTITIONS = 8  # commits per second are the scarce thing, and each partition makes its own
PARTITIONS_MAX = 256
REPLICATION = 3
REPLICATION_MAX = 9
MIN_INSYNC = 2  # copies that have a record before it is told: one broker may then be lost for ever
PREFIX_CHARS_MAX = 60
ADDRESS_CHARS_MAX = 4096
EXAMPLE = "kafka://broker1:9092,broker2:9092?prefix=acme.&partitions=8&replication=3&min_insync=2"
_PREFIX = re.compile(r"[A-Za-z0-9._-]*[.-]")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%a-z]{2,60}\]")
_NUMBER = re.compile(r"[0-9]{1,5}")
_PORT_MAX = 65_535
_WORDS = ("prefix", "partitions", "replication", "min_insync")


class KafkaAddress(Struct, frozen=True, kw_only=True):
    """Where a journal is. `partitions` is the deployment's count; `replication` and `min_insync` are copies of each record."""

    bootstrap: str
    prefix: str = ""
    partitions: int = PARTITIONS
    replication: int = REPLICATION
    min_insync: int = MIN_INSYNC

    @property
    def group(self) -> str:
        """Return the consumer group that shares the deployment's partitions among its nodes."""
        return f"{self.prefix}evento"


def parse_address(address: str) -> KafkaAddress:
    """Return the parts of a `kafka://` address. Raises SettingsError that says what is wrong, without a password in it."""
    if len(address) > ADDRESS_CHARS_MAX:
        raise _wrong(f"is longer than {ADDRESS_CHARS_MAX} characters")
    scheme, brokers, path, query, fragment = urlsplit(address)
    if "@" in brokers:
        raise _wrong("names a user: say who you are with sasl.username and sasl.password, in the file that `kafka_config` names")
    if scheme != "kafka":
        raise _wrong("does not begin with kafka://")
    if path not in ("", "/") or fragment:
        raise _wrong(f"has {path + fragment!r} behind the brokers")
    for broker in brokers.split(","):
        _check_broker(broker)
    given = _words(query)
    replication = _number(given, "replication", REPLICATION, REPLICATION_MAX)
    return KafkaAddress(
        bootstrap=brokers,
        prefix=_checked_prefix(given.get("prefix", "")),
        partitions=_number(given, "partitions", PARTITIONS, PARTITIONS_MAX),
        replication=replication,
        min_insync=_number(given, "min_insync", min(MIN_INSYNC, replication), replication),
    )


def _check_broker(broker: str) -> None:
    host, _, port = broker.rpartition(":")
    if not _HOST.fullmatch(host) or not _NUMBER.fullmatch(port) or not 0 < int(port) <= _PORT_MAX:
        raise _wrong(f"has the broker {broker!r}, which is not host:port")


def _words(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=2 * len(_WORDS))
    except ValueError:
        raise _wrong(f"has {query!r}, which is not name=value&name=value") from None
    for name, _ in pairs:
        if name not in _WORDS:
            raise _wrong(f"has {name!r}; there are {', '.join(_WORDS)}")
    if len(dict(pairs)) < len(pairs):
        raise _wrong("says something twice")
    return dict(pairs)


def _checked_prefix(prefix: str) -> str:
    if prefix and (len(prefix) > PREFIX_CHARS_MAX or not _PREFIX.fullmatch(prefix)):
        rule = f"at most {PREFIX_CHARS_MAX} letters, digits and . _ - with a . or - at the end"
        raise _wrong(f"has the prefix {prefix[: PREFIX_CHARS_MAX + 1]!r}, which is not {rule}")
    return prefix


def _number(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise _wrong(f"has {name}={text[:20]!r}, which is not a number from 1 to {most}")
    return int(text)


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"the journal's address {what}. Example: {EXAMPLE}", setting="journal")
