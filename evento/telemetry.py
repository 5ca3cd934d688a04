"""What Evento tells about itself: one line of JSON (or text) per log record, and Prometheus metrics.

The metrics live on the event loop's thread: children are bound once, adding is plain arithmetic without a lock, and the text is
made when somebody scrapes. Knows nothing of the engine or HTTP; who feeds it is their business.
"""

import logging
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COMMANDS_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# ------------------------------------------------------------------ metrics
class Count:
    """One counted or measured number. `value` only grows in a Counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, number: float = 1) -> None:
        """Add `number`."""
        self.value += number

    def set(self, number: float) -> None:
        """Put `number` in its place (gauges)."""
        self.value = number


class Spread:
    """One histogram's numbers."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, number: float, times: int = 1) -> None:
        """Count `number`, `times` times."""
        self.counts[bisect_left(self.bounds, number)] += times
        self.total += number * times

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the count at or below each bound, as Prometheus wants it."""
        rows: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            rows.append(("+Inf" if bound == float("inf") else str(bound), float(seen)))
        return rows


class Counter(Collector):
    """Counts of one kind, one per combination of label values."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.labels, self._text = name, labels, text
        self._children: dict[tuple[str, ...], Count] = {}

    def bind(self, *values: str) -> Count:
        """Return the number for these label values; keep it and add to it."""
        return self._children.setdefault(values, Count())

    def collect(self) -> Iterable[Metric]:
        """Return the counts as Prometheus samples."""
        family = CounterMetricFamily(self.name, self._text, labels=self.labels)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class Gauge(Collector):
    """Numbers that go up and down; set, or read from a source when somebody scrapes."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.labels, self._text = name, labels, text
        self._children: dict[tuple[str, ...], Count] = {}
        self._source: Callable[[], float] | None = None
        self._each: Callable[[], Mapping[str, float]] = dict

    def bind(self, *values: str) -> Count:
        """Return the number for these label values; keep it and set it."""
        return self._children.setdefault(values, Count())

    def read_from(self, source: Callable[[], float]) -> None:
        """Ask `source` for the number at each scrape (a gauge without labels)."""
        self._source = source

    def read_each_from(self, source: Callable[[], Mapping[str, float]]) -> None:
        """Ask `source` for the numbers by label value at each scrape (a gauge with one label)."""
        self._each = source

    def collect(self) -> Iterable[Metric]:
        """Return the numbers as Prometheus samples."""
        family = GaugeMetricFamily(self.name, self._text, labels=self.labels)
        if self._source is not None:
            family.add_metric((), self._source())
        for value, number in self._each().items():
            family.add_metric((value,), number)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class Histogram(Collector):
    """Distributions of one kind, one per combination of label values."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = (), bounds: Sequence[float] = SECONDS_BUCKETS) -> None:
        self.name, self.labels, self._text, self._bounds = name, labels, text, bounds
        self._children: dict[tuple[str, ...], Spread] = {}

    def bind(self, *values: str) -> Spread:
        """Return the distribution for these label values; keep it and observe into it."""
        return self._children.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterable[Metric]:
        """Return the distributions as Prometheus samples."""
        family = HistogramMetricFamily(self.name, self._text, labels=self.labels)
        for values, child in self._children.items():
            family.add_metric(values, child.cumulated(), child.total)
        yield family


class Metrics:
    """Every metric of Evento, by name. Used on one thread, the event loop's."""

    def __init__(self) -> None:
        self.commands = Counter("evento_commands", "Outcomes told or reached.", ("entity", "outcome"))
        self.command_seconds = Histogram("evento_command_seconds", "From accepting a Command to telling its outcome.", ("entity",))
        self.function_calls = Counter("evento_function_calls", "Calls to functions.", ("function", "result"))
        self.function_call_seconds = Histogram(
            "evento_function_call_seconds", "Duration of a call to a function.", ("function", "operation")
        )
        self.function_replicas = Gauge("evento_function_replicas", "Replicas of the function that are ready.", ("function",))
        self.function_replica_ends = Counter(
            "evento_function_replica_ends", "Replicas that ended, or were given up, though they were wanted.", ("function", "cause")
        )
        self.commit_seconds = Histogram("evento_commit_seconds", "Duration of a commit to the journal.")
        self.commit_commands = Histogram("evento_commit_commands", "Commands finished by one commit.", (), COMMANDS_BUCKETS)
        self.journal_commit_seconds = Histogram(
            "evento_journal_commit_seconds",
            "Duration of a commit on Kafka, waiting for its turn among the node's commits included.",
        )
        self.journal_commit_records = Counter("evento_journal_commit_records", "Records written to Kafka by commits.")
        self.journal_commit_failures = Counter(
            "evento_journal_commit_failures", "Commits on Kafka that failed, each with the ownership of its partition.", ("code",)
        )
        self.partition_take_over_seconds = Histogram(
            "evento_partition_take_over_seconds", "From being given a partition to having all of it."
        )
        self.partition_restore_records = Gauge(
            "evento_partition_restore_records",
            "Records, at most, still to be read before the partition takes Commands.",
            ("partition",),
        )
        self.partition_intake_stopped = Gauge(
            "evento_partition_intake_stopped",
            "1 while the partition's topics of Commands are not read, because unread records are gone.",
            ("partition",),
        )
        self.partition_copy_blocks = Counter(
            "evento_partition_copy_blocks", "Blocks written to the copies of owned partitions' replicas.", ("partition",)
        )
        self.partitions_owned = Gauge("evento_partitions_owned", "Partitions that this node owns.")
        self.partitions_ownerless = Gauge("evento_partitions_ownerless", "Partitions that no node owns, as far as this one knows.")
        self.inbox_commands = Gauge("evento_inbox_commands", "Commands in memory, waiting for their turn.")
        self.pending_commands = Gauge("evento_pending_commands", "Commands accepted and not finished.")
        self.parked_commands = Gauge("evento_parked_commands", "Commands set aside for an operator.")
        self.breaker_open = Gauge("evento_breaker_open", "1 while calls to the function are held back.", ("function",))
        self.http_requests = Counter("evento_http_requests", "HTTP requests answered.", ("route", "status"))
        self._registry = CollectorRegistry(auto_describe=False)
        for metric in vars(self).values():
            if isinstance(metric, Counter | Gauge | Histogram):
                self._registry.register(metric)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format (`METRICS_TYPE`)."""
        return generate_latest(self._registry)


# ------------------------------------------------------------------ logging
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def _extras(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in vars(record).items() if name not in _STANDARD)


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, what `extra=` brought, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; line breaks and control characters in it are escaped."""
        line: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_extras(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A line for a person: time, level, logger, message, then what `extra=` brought."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; control characters in the message are escaped, so that nobody forges a line."""
        message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in record.getMessage())
        extras = "".join(f" {name}={value!r}" for name, value in _extras(record))
        text = f"{_iso(record.created)[11:23]} {record.levelname:<7} {record.name}: {message}{extras}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up_logging(level: str, form: str) -> None:
    """Send all log records at or above `level` to stdout, as `form` says: json, text, or auto (text on a terminal)."""
    handler = logging.StreamHandler(sys.stdout)
    json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _iso(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1_000_000):06d}Z"
