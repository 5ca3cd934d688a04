"""Turns result lines into tables: medians with their range, and the ratios that the project has set itself."""

from statistics import median
from typing import Any

Line = dict[str, Any]

# case, whom Evento is compared with, at least how many times as good
TARGETS = (
    ("http spread", "restate-python", 10.0),
    ("http spread", "restate-typescript", 5.0),
    ("http spread", "eventsourcing-cache", 3.0),
    ("http hot", "restate-python", 1.0),
    ("stream spread", "eventsourcing-cache", 10.0),
    ("stream hot", "eventsourcing-cache", 10.0),
)
ALONE_P50_MS_MAX = 1.5
REBUILD_PER_S_MIN = 200_000
CONTAINERS_SHARE_MIN = 0.9  # of the throughput with local processes
COLD_START_MAX = 1.5  # times what the engine alone takes
MEMORY_MB_MAX = 200
DISTURBED_CORES = 0.2


def one(line: Line) -> str:
    """Return a result as one short line, for somebody who waits."""
    told = "rate p50_ms p99_ms errors wrong flushes_per_s others_cores cpu_us rss_mb alone_s evento_s"
    known = {key: line[key] for key in told.split() if key in line}
    shown = " ".join(f"{key}={round(value, 2) if isinstance(value, float) else value}" for key, value in known.items())
    return f"{line['round']} {line['case']:14} {line['peer']:20} {shown}"


def tables(lines: list[Line]) -> str:
    """Return the report: the machine, a table of figures, the targets."""
    runs: dict[tuple[str, str], list[Line]] = {}
    for line in lines[1:]:
        runs.setdefault((line["case"], line["peer"]), []).append(line)
    facts = [f"- {name}: {value}" for name, value in lines[0]["machine"].items()]
    facts.append(f"- {lines[0]['rounds']} rounds; runs of {lines[0]['seconds']} s")
    return "\n".join([*facts, "", *_figures(runs), "", *_targets(runs), *_faults(runs)])


def _figures(runs: dict[tuple[str, str], list[Line]]) -> list[str]:
    columns = ("rate", "p50_ms", "p99_ms", "flushes_per_s", "others_cores")
    rows = [
        "| case | peer | per second | p50 ms | p99 ms | disk flushes/s | others' cores | peak MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, peer in sorted(runs, key=lambda key: key[0]):
        group = runs[case, peer]
        cells = [_range([line[column] for line in group if column in line]) for column in columns]
        rows.append(f"| {case} | {peer} | " + " | ".join(cells) + f" | {_range([_memory(line) for line in group])} |")
    return rows


def _memory(line: Line) -> float:
    found = line.get("rss_mb", 0)
    return float(sum(found.values()) if isinstance(found, dict) else found)


def _range(values: list[float]) -> str:
    if not values:
        return ""
    digits = 0 if median(values) >= 100 else 2
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} [{low}–{high}]"


def _targets(runs: dict[tuple[str, str], list[Line]]) -> list[str]:
    rows = ["| target | measured | |", "| --- | --- | --- |"]

    def rates(case: str, peer: str = "evento") -> list[float]:
        return [line["rate"] for line in runs.get((case, peer), ())]

    for case, peer, factor in TARGETS:
        if (ours := rates(case)) and (theirs := rates(case, peer)):
            low, high = min(ours) / max(theirs), max(ours) / min(theirs)
            rows.append(_row(f"{case}: ≥ {factor:g} × {peer}", median(ours) / median(theirs), factor, f"× [{low:.1f}–{high:.1f}]"))
    for load in ("http", "stream"):
        if (hot := rates(f"{load} hot")) and (spread := rates(f"{load} spread")):
            rows.append(_row(f"{load}: hot ≥ spread", median(hot) / median(spread), 1.0, "×"))
    if rebuilt := rates("rebuild"):
        rows.append(_row("rebuild: ≥ 200,000 events/s", median(rebuilt), REBUILD_PER_S_MIN, "/s"))
    if alone := [-line["p50_ms"] for line in runs.get(("http alone", "evento"), ())]:
        rows.append(_row(f"http alone: p50 ≤ {ALONE_P50_MS_MAX} ms", median(alone), -ALONE_P50_MS_MAX, "ms"))
    if held := [-_memory(line) for line in runs.get(("memory", "evento"), ())]:
        rows.append(_row(f"memory: ≤ {MEMORY_MB_MAX} MiB", median(held), -MEMORY_MB_MAX, "MiB"))
    for case in ("containers stream", "containers http"):
        if (processes := rates(case)) and (in_containers := rates(case, "evento-containers")):
            share = median(in_containers) / median(processes)
            rows.append(_row(f"{case}: ≥ {CONTAINERS_SHARE_MIN} × local processes", share, CONTAINERS_SHARE_MIN, "×"))
    if cold := [line for line in runs.get(("containers", "evento"), ()) if "alone_s" in line]:
        times = [-line["evento_s"] / line["alone_s"] for line in cold]
        rows.append(_row(f"cold start: ≤ {COLD_START_MAX} × the engine alone", median(times), -COLD_START_MAX, "×"))
    return rows


def _row(target: str, measured: float, bound: float, unit: str) -> str:
    return f"| {target} | {abs(measured):,.2f} {unit} | {'met' if measured >= bound else 'MISSED'} |"


def _faults(runs: dict[tuple[str, str], list[Line]]) -> list[str]:
    disturbed = sum(line.get("others_cores", 0) > DISTURBED_CORES for group in runs.values() for line in group)
    note = [f"{disturbed} runs were disturbed: something else kept more than {DISTURBED_CORES} cores busy."] if disturbed else []
    faulty = [(key, line) for key, group in runs.items() for line in group if line.get("errors") or line.get("wrong")]
    return [
        "",
        *note,
        *(f"{key[0]}, {key[1]}: {line.get('errors')} errors, {line.get('wrong')} wrong answers" for key, line in faulty),
    ]
