"""Taking the copy of a partition's replica from Kafka, for a node that has none: all of it as it was made, or nothing."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from evento.errors import JournalError, JournalUnreachable
from evento.journal.kafka.copies import Manifest, Place, digest_of, read_manifest, read_place
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.survey import Survey

FILL_S = 0.2
STALLED_S = 20.0  # without anything new: then the topics are read instead
TAKE_RECORDS = 64
TAIL_RECORDS = 8  # before the end of the topic, among which the manifest is: behind it is the end of its commit
_log = logging.getLogger(__name__)


class Source(Struct, frozen=True):
    """Where the copies of one partition's replica stand."""

    topic: str
    partition: int
    survey: Survey
    make_feed: Callable[[], Feed]


def fetch_copy(path: Path, source: Source, watch: Callable[[], None], progress: Callable[[int, int], None]) -> bool:
    """Write the newest copy to `path`, where nothing is; return whether there is one. What is wrong with it is logged, not raised.

    `watch` is called again and again, and raises a JournalError when the copy is not wanted any more; that is raised. `progress` is
    told how many records are read, of how many at most.
    """
    part = path.with_name(path.name + ".part")
    try:
        manifest = _fetched(part, source, watch, progress)
        if manifest is None:
            return False
        os.utime(part, (manifest.made_s, manifest.made_s))  # what it says is pending is as old as that
        part.replace(path)
    except (JournalError, OSError) as error:
        watch()  # who wants none any more must not begin without one
        _log.warning("partition %d: no copy of its replica is taken, and its topics are read: %s", source.partition, error)
        return False
    finally:
        part.unlink(missing_ok=True)
    _log.info("partition %d: took a copy of its replica, with %d turns", source.partition, manifest.turns)
    return True


def last_manifest(source: Source, watch: Callable[[], None]) -> Manifest | None:
    """Return the manifest of the newest copy, if nothing but it is at the end of the topic. `watch` is called again and again, and
    may raise. Raises JournalError.
    """
    manifest = None
    for key, value in _records(source, watch=watch, tail=TAIL_RECORDS):
        manifest = read_manifest(key, value)
    return manifest


def _fetched(part: Path, source: Source, watch: Callable[[], None], progress: Callable[[int, int], None]) -> Manifest | None:
    manifest, digests = None, dict[Place, bytes]()
    with part.open("wb") as file:
        for key, value in _records(source, watch=watch, progress=progress):
            place = read_place(key)
            if place is None:
                manifest = read_manifest(key, value) or manifest
            elif value is None or len(value) > place.block_bytes:
                digests.pop(place, None)
            else:
                digests[place] = digest_of(value)
                file.seek(place.number * place.block_bytes)
                file.write(value)
        if manifest is None:
            return None
        file.truncate(manifest.file_bytes)
        file.flush()
        os.fdatasync(file.fileno())  # else a loss of power could leave holes that nobody would notice
    found = [digests.get(Place(manifest.block_bytes, number)) == manifest.digest(number) for number in range(manifest.blocks)]
    if all(found):
        return manifest
    _log.warning("partition %d: %d blocks of the copy of its replica are missing or damaged", source.partition, found.count(False))
    return None


def _records(
    source: Source,
    *,
    watch: Callable[[], None],
    tail: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yield keys and values of what is committed now, of the last few offsets only with a `tail`. Raises JournalError."""
    topic, partition = source.topic, source.partition
    begin, end = source.survey.beginnings([topic], partition)[topic], source.survey.decided(topic, partition)
    if begin >= end:
        return
    begin = max(begin, end - tail) if tail else begin
    stalled = Patience(STALLED_S)
    with closing(source.make_feed()) as feed:
        feed.add({topic: begin})
        while True:
            while messages := feed.take(topic, TAKE_RECORDS):
                for message in messages:
                    yield message.key(), message.value()
                progress(min(feed.reached(topic), end) - begin, end - begin)
            watch()
            if feed.has_ended(topic):
                return
            if feed.fill(FILL_S):
                stalled = Patience(STALLED_S)
            elif stalled.is_over:
                raise JournalUnreachable(f"{topic}[{partition}]: nothing came from the Kafka cluster for {STALLED_S:g} s")
