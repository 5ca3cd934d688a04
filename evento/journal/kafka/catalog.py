"""The catalog's versions on their topic, each in as many records as it needs. One of several who append the same version wins.

Who appends becomes the one who may (by a transactional id of its own, which fences all others), reads to the end, and then
either it is the next version or it is not. What a version says is not known here. Blocks: for threads.
"""

import logging
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException, Producer

from evento.errors import JournalCorrupt, JournalError, JournalLost
from evento.journal.kafka.clients import RECORD_BYTES_MAX, Cluster, lane_producer_properties, reader_properties
from evento.journal.kafka.failures import Action, Call, failure_of
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.found import headers_of
from evento.journal.kafka.names import Names
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.rights import refusal_of
from evento.journal.kafka.survey import Survey
from evento.journal.kafka.watchdog import ClientCall

CHUNK_BYTES = 512 * 1024
READ_S = 60.0
FENCE_S = 60.0
INIT_S = 10.0  # of it, for one call
COMMIT_S = 30.0
FILL_S = 0.2
AGAIN_S = 0.1
TRIES = 10  # each but the last because somebody else appended in the middle
Headers = list[tuple[str, str | bytes | None]]
_PART = "evento-part"
_WHAT = f"the catalog, {Call.COMMIT}"
_log = logging.getLogger(__name__)


class Catalogs:
    """The catalog's topic."""

    def __init__(self, cluster: Cluster, names: Names, survey: Survey) -> None:
        self._cluster = cluster
        self._names = names
        self._survey = survey
        self._told = lane_producer_properties(cluster, names.catalog_id, message_bytes_max=RECORD_BYTES_MAX)
        self._known: tuple[int, Mapping[int, bytes]] = (-1, {})  # what was read last, and up to where

    def read(self, after: int) -> Sequence[tuple[int, bytes]]:
        """Return the versions above one, in order. Raises JournalError."""
        return [item for item in sorted(self._read().items()) if item[0] > after]

    def append(self, version: int, content: bytes) -> bool:
        """Make one version durable, if it is the next one. Raises JournalError."""
        tried = False
        for _ in range(TRIES):
            if version != len(self._read()) + 1:
                break
            try:
                producer = self._fence()
                versions = self._read()
                if version != len(versions) + 1:
                    break
                tried = True
                self._commit(producer, version, content)
            except KafkaException as error:
                failure = failure_of(Call.COMMIT, error, told=self._told)
                if failure.action in (Action.REFUSED, Action.FATAL):
                    raise refusal_of(failure, self._told) from error
                _log.info("catalog version %d is tried again: %s", version, failure.message)
            else:
                return True
        return tried and self._read().get(version) == content  # what failed may have happened

    def _read(self) -> Mapping[int, bytes]:
        """Return all versions. Parts of a version come one after another, for they are one commit."""
        topic = self._names.catalog
        end = self._survey.ends([topic], 0)[topic]
        known_end, known = self._known
        if end == known_end:
            return known  # nodes look twice a second whether there is something new
        feed = Feed(reader_properties(self._cluster, self._names.group), 0)
        versions: dict[int, bytes] = {}
        patience = Patience(READ_S)
        try:
            feed.add({topic: 0})
            while feed.reached(topic) < end or not feed.is_taken(topic):
                self._survey.go_on()
                feed.fill(FILL_S)
                for message in feed.take(topic, 100):
                    _collect(versions, message.key() or b"", message.value() or b"", dict(headers_of(message)))
                if patience.is_over:
                    raise JournalError(f"{topic} cannot be read to its end in {READ_S:g} s")
        finally:
            feed.close()
        if list(versions) != list(range(1, len(versions) + 1)):
            raise JournalCorrupt(f"{topic} has the catalog versions {list(versions)}: one is missing, or twice there", topic=topic)
        if len(versions) < len(known):
            raise JournalLost(
                f"{topic} had {len(known)} catalog versions, and has {len(versions)} now: it was deleted and made anew. Restore it",
                topic=topic,
            )
        self._known = end, versions
        return versions

    def _fence(self) -> Producer:
        producer, patience = Producer(dict(self._told)), Patience(FENCE_S)
        while True:
            try:
                with ClientCall(_WHAT):
                    producer.init_transactions(min(INIT_S, patience.left_s))
                return producer
            except KafkaException as error:
                if failure_of(Call.INIT, error).action is not Action.RETRY or patience.is_over:
                    raise
                patience.pause(AGAIN_S)

    def _commit(self, producer: Producer, version: int, content: bytes) -> None:
        parts = [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)] or [b""]
        producer.begin_transaction()
        for number, part in enumerate(parts, 1):
            headers: Headers = [(_PART, b"%d/%d" % (number, len(parts)))]
            producer.produce(self._names.catalog, part, b"%020d" % version, 0, headers=headers)
        with ClientCall(_WHAT):
            producer.flush(COMMIT_S)
        patience = Patience(COMMIT_S)
        while True:
            try:
                with ClientCall(_WHAT):
                    producer.commit_transaction(max(1.0, patience.left_s))
                return
            except KafkaException as error:
                if failure_of(Call.COMMIT, error).action is not Action.RETRY or patience.is_over:
                    raise
                patience.pause(AGAIN_S)


def _collect(versions: dict[int, bytes], key: bytes, value: bytes, headers: Mapping[str, bytes | None]) -> None:
    part = headers.get(_PART) or b""
    number, _, count = part.partition(b"/")
    if not (key.isdigit() and number.isdigit() and count.isdigit()):
        raise JournalCorrupt(f"a record of the catalog has the key {key[:80]!r} and is part {part[:80]!r}")
    version = int(key)
    versions[version] = versions.get(version, b"") + value if int(number) > 1 else value
