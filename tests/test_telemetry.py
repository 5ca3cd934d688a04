"""Logs are one JSON object per line whatever is in them; metrics come out as Prometheus reads them."""

import json
import logging
import re
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from evento.telemetry import Counter, Gauge, Histogram, JsonFormatter, Metrics, TextFormatter

EVIL = 'a\n{"level":"forged"}\r\x1b[31m'


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("evento.test").makeRecord("evento.test", logging.WARNING, "f", 1, message, (), None, extra=extra)
    made.created = 1_780_228_800.25
    return made


def test_a_record_is_one_line_of_json() -> None:
    text = JsonFormatter().format(record(EVIL, instance="bank/Checking/alice", number=7, odd={1, 2}))
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2026-05-31T12:00:00.250000Z",
        "level": "warning",
        "logger": "evento.test",
        "message": EVIL,
        "instance": "bank/Checking/alice",
        "number": 7,
        "odd": [1, 2],
    }


def test_a_traceback_is_in_the_line() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    assert "ValueError: boom" in json.loads(JsonFormatter().format(made))["exception"]


def test_nobody_forges_a_line_or_colours_in_text() -> None:
    text = TextFormatter().format(record(EVIL, user=EVIL))
    assert "\n" not in text
    assert "\x1b" not in text


def test_metrics_are_what_was_counted() -> None:
    metrics = Metrics()
    metrics.commands.bind("bank/Checking", "succeeded").add(3)
    metrics.commands.bind("bank/Checking", "succeeded").add()
    spread = metrics.commit_seconds.bind()
    for seconds in (0.0005, 0.004, 0.004, 100):
        spread.observe(seconds)
    metrics.inbox_commands.read_from(lambda: 12)
    metrics.breaker_open.read_each_from(lambda: {"bank/functions": 1})
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    samples = {(s.name, tuple(s.labels.values())): s.value for family in families.values() for s in family.samples}
    assert samples["evento_commands_total", ("bank/Checking", "succeeded")] == 4
    assert samples["evento_commit_seconds_bucket", ("0.0005",)] == 1
    assert samples["evento_commit_seconds_bucket", ("0.005",)] == 3
    assert samples["evento_commit_seconds_bucket", ("60.0",)] == 3
    assert samples["evento_commit_seconds_bucket", ("+Inf",)] == samples["evento_commit_seconds_count", ()] == 4
    assert samples["evento_inbox_commands", ()] == 12
    assert samples["evento_breaker_open", ("bank/functions",)] == 1
    assert all(family.documentation for family in families.values())


DOCS = Path(__file__).parent.parent / "docs"
KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
SUFFIX = {Counter: "_total", Gauge: "", Histogram: ""}


def all_metrics() -> list[Counter | Gauge | Histogram]:
    return [metric for metric in vars(Metrics()).values() if type(metric) in KINDS]


def test_the_page_has_every_metric_with_its_kind_and_labels() -> None:
    page = (DOCS / "reference/metrics.md").read_text("utf-8")
    shown = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(evento_\w+)` \| (\w+) \|([^|]*)\|", page, re.M)
    }
    assert shown == {metric.name + SUFFIX[type(metric)]: (KINDS[type(metric)], metric.labels) for metric in all_metrics()}


def test_every_metric_that_a_page_names_exists() -> None:
    """Also in an expression, where a histogram is its `_count`, `_sum` or `_bucket`, and a label stands behind a name."""
    parts = {Counter: ("_total",), Gauge: ("",), Histogram: ("", "_count", "_sum", "_bucket")}
    made = {metric.name + part for metric in all_metrics() for part in parts[type(metric)]}
    named = {
        (page.name, name) for page in DOCS.rglob("*.md") for name in re.findall(r"\bevento_[a-z0-9_]+\b", page.read_text("utf-8"))
    }
    assert {"watch-a-cluster.md", "size-partitions.md"} <= {page for page, _ in named}
    assert not [(page, name) for page, name in named if name not in made]
