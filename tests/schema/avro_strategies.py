"""Hypothesis strategies: Avro schema definitions of every kind, and plain JSON values that fit them."""

import base64
import math
from datetime import date, datetime

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_INSTANTS = {"millis": 3, "micros": 6, "nanos": 9}


def definitions(depth: int = 3) -> st.SearchStrategy:
    """Schemas as dicts; named types get names from a counter, so a schema never defines one twice."""
    return st.builds(_build, st.randoms(use_true_random=False), st.just(depth))


def _build(random, depth):
    counter = iter(range(10_000))
    return _type(random, depth, counter, union=True)


def _type(random, depth, counter, *, union):
    kinds = ["primitive", "logical", "enum", "fixed"]
    if depth:
        kinds += ["record", "record", "array", "map"] + (["union", "optional"] if union else [])
    return _MAKERS[random.choice(kinds)](random, depth, counter)


def _primitive(random, depth, counter):
    return random.choice(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])


def _logical(random, depth, counter):
    unit = random.choice(list(_INSTANTS))
    precision = random.randint(1, 38)
    size = random.randint(16, 32)
    return random.choice(
        [
            {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": random.randint(0, precision)},
            {
                "type": "fixed",
                "name": f"D{next(counter)}",
                "size": size,
                "logicalType": "decimal",
                "precision": precision,
                "scale": 1,
            },
            {"type": "string", "logicalType": "uuid"},
            {"type": "fixed", "name": f"U{next(counter)}", "size": 16, "logicalType": "uuid"},
            {"type": "fixed", "name": f"P{next(counter)}", "size": 12, "logicalType": "duration"},
            {"type": "int", "logicalType": "date"},
            {"type": "int", "logicalType": "time-millis"},
            {"type": "long", "logicalType": "time-micros"},
            {"type": "long", "logicalType": f"timestamp-{unit}"},
            {"type": "long", "logicalType": f"local-timestamp-{unit}"},
            {"type": "long", "logicalType": "of-somebody-else"},
        ]
    )


def _enum(random, depth, counter):
    return {"type": "enum", "name": f"E{next(counter)}", "symbols": [f"S{n}" for n in range(random.randint(1, 70))]}


def _fixed(random, depth, counter):
    return {"type": "fixed", "name": f"F{next(counter)}", "size": random.randint(1, 20)}


def _record(random, depth, counter):
    name = f"R{next(counter)}"
    # Few field names, so that records of one union resemble each other.
    names = random.sample(["a", "b", "c", "int", "string", "array"], random.randint(0, 4))
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": _type(random, depth - 1, counter, union=True)} for field in names],
    }


def _array(random, depth, counter):
    return {"type": "array", "items": _nonempty(random, depth, counter)}


def _map(random, depth, counter):
    return {"type": "map", "values": _nonempty(random, depth, counter)}


def _nonempty(random, depth, counter):
    while empty(made := _type(random, depth - 1, counter, union=True)):
        pass
    return made


def empty(definition) -> bool:
    if isinstance(definition, dict) and definition["type"] == "record":
        return all(empty(field["type"]) for field in definition["fields"])
    return definition == "null"


def _optional(random, depth, counter):
    inner = "null"
    while inner == "null":
        inner = _type(random, depth - 1, counter, union=False)
    return random.choice([["null", inner], [inner, "null"]])


def _union(random, depth, counter):
    branches, names = [], set()
    for _ in range(random.randint(1, 5)):
        branch = _type(random, depth - 1, counter, union=False)
        if branch_name(branch) not in names:
            names.add(branch_name(branch))
            branches.append(branch)
    return branches


_MAKERS = {
    "primitive": _primitive,
    "logical": _logical,
    "enum": _enum,
    "fixed": _fixed,
    "record": _record,
    "array": _array,
    "map": _map,
    "union": _union,
    "optional": _optional,
}


def branch_name(definition) -> str:
    if isinstance(definition, str):
        return definition
    return definition.get("name", definition["type"])


# ------------------------------------------------------------------ values
def values(definition) -> st.SearchStrategy:
    """Plain JSON values of a definition; in a union of several types each value names its type."""
    if isinstance(definition, list):
        others = [branch for branch in definition if branch != "null"]
        if len(others) < 2:
            return st.one_of([values(branch) for branch in definition])
        tagged = [_tagged(branch) for branch in others]
        return st.one_of([st.none()] * ("null" in definition) + tagged)
    if isinstance(definition, str):
        return _PLAIN[definition]
    if "logicalType" in definition:
        return _logical_values(definition)
    match definition["type"]:
        case "record":
            return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in definition["fields"]})
        case "array":
            return st.lists(values(definition["items"]), max_size=4)
        case "map":
            return st.dictionaries(TEXT, values(definition["values"]), max_size=4)
        case "enum":
            return st.sampled_from(definition["symbols"])
        case "fixed":
            return st.binary(min_size=definition["size"], max_size=definition["size"]).map(_base64)
    return _PLAIN[definition["type"]]


def _tagged(branch) -> st.SearchStrategy:
    return values(branch).map(lambda value: {branch_name(branch): value})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _special(number: float) -> float | str:
    if math.isnan(number):
        return "NaN"
    return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"


_PLAIN = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32).map(_special),
    "double": st.floats().map(_special),
    "bytes": st.binary(max_size=8).map(_base64),
    "string": TEXT,
}
_ZULU = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))


def _logical_values(definition) -> st.SearchStrategy:
    name = definition["logicalType"]
    if name == "decimal":
        limit = 10 ** definition["precision"] - 1
        return st.integers(-limit, limit).map(lambda n: f"{n}e-{definition['scale']}")
    if name == "uuid":
        return st.uuids().map(str)
    if name == "duration":
        part = st.integers(0, 2**32 - 1)
        return st.fixed_dictionaries({"months": part, "days": part, "millis": part})
    if name == "date":
        return st.dates(date.min, date.max).map(date.isoformat)
    if name.startswith("time-"):
        return st.times().map(lambda t: t.isoformat(timespec="milliseconds" if name == "time-millis" else "auto"))
    if "timestamp" in name:
        spec = "milliseconds" if name.endswith("millis") else "auto"
        zone = "" if name.startswith("local") else "Z"
        return _ZULU.map(lambda t: t.replace(tzinfo=None).isoformat(timespec=spec) + zone)
    return _PLAIN[definition["type"]]


def payload_pairs(depth: int = 3) -> st.SearchStrategy:
    """Pairs of a definition and a value of it."""
    return definitions(depth).flatmap(lambda definition: st.tuples(st.just(definition), values(definition)))


__all__ = ["definitions", "payload_pairs", "values"]
