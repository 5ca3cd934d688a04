"""What each field of a manifest may be: the exact path, rule and value of every refusal."""

from typing import Any

import pytest
from declaring import Manifest, bank, command, deployed, documents, entity, event, function, plan, told
from hypothesis import given
from hypothesis import strategies as st

from evento.registry.declared import declare
from evento.registry.deployment import Registry
from evento.registry.documents import documents_of
from evento.registry.limits import DEPTH_MAX
from evento.registry.models import duration_s

TYPE_RULE = "must be a capital letter, then letters and digits, at most 63"
LABEL_RULE = "must be lower-case letters, digits and dashes, 1 to 63, starting with a letter"
DURATION_RULE = "must be a duration such as 100ms, 5s, 1m or 1h"
SIZE_RULE = "must be a size such as 64Mi, 512Mi or 2Gi"


def without(manifest: Manifest, field: str) -> Manifest:
    return {**manifest, "spec": {name: value for name, value in manifest["spec"].items() if name != field}}


def problems(*manifests: Manifest) -> list[tuple[str, str, str]]:
    return [(problem.path, problem.message, problem.value) for problem in declare(documents(*manifests))[1]]


@pytest.mark.parametrize(
    ("manifest", "path", "rule", "value"),
    [
        (without(command(), "handle"), "spec.handle", "is required", ""),
        (without(command(), "events"), "spec.events", "is required", ""),
        (without(command(), "entity"), "spec.entity", "is required", ""),
        (without(command(), "schema"), "spec.schema", "is required", ""),
        (without(entity(), "apply"), "spec.apply", "is required", ""),
        (without(entity(), "schema"), "spec.schema", "is required", ""),
        (without(event(), "entity"), "spec.entity", "is required", ""),
        (command(events=[]), "spec.events", "must not be empty", "[]"),
        (command(events=["A", "B", "A"]), "spec.events", "names A twice", "['A', 'B', 'A']"),
        (command(events=["cashWithdrawn"]), "spec.events[0]", TYPE_RULE, "'cashWithdrawn'"),
        (command(events="CashWithdrawn"), "spec.events", "must be a list", "'CashWithdrawn'"),
        (command("withdraw"), "metadata.name", TYPE_RULE, "'withdraw'"),
        (command(handle="Teller"), "spec.handle", LABEL_RULE, "'Teller'"),
        (entity("Check/ing"), "metadata.name", TYPE_RULE, "'Check/ing'"),
        (entity(apply=None), "spec.apply", "must be text: quote it", ""),
        (entity(apply=True), "spec.apply", "must be text: quote it", "True"),
        ({**entity(), "metadata": {"name": "A", "namespace": "Bank"}}, "metadata.namespace", LABEL_RULE, "'Bank'"),
        ({**entity(), "metadata": {"name": "A"}}, "metadata.namespace", "is required", ""),
        ({**entity(), "metadata": "A"}, "metadata", "must be a mapping", "'A'"),
        ({**entity(), "apiVersion": "v1"}, "apiVersion", "must be evento.dev/v1", "'v1'"),
        (
            {**entity(), "kind": "Entitty"},
            "kind",
            "must be one of Entity, Event, Command, Function; did you mean Entity?",
            "'Entitty'",
        ),
        (
            {**entity(), "kind": ["Entity"]},
            "kind",
            "must be one of Entity, Event, Command, Function; did you mean Entity?",
            "['Entity']",
        ),
        (entity(aply="x"), "spec.aply", "is not a field here; there are schema, apply, partitions; did you mean apply?", ""),
        (
            command(retry={"maxAttempt": 3}),
            "spec.retry.maxAttempt",
            "is not a field here; there are first, factor, cap, maxAttempts; did you mean maxAttempts?",
            "",
        ),
        ({**entity(), "status": {}}, "status", "is not a field here; there are apiVersion, kind, metadata, spec", ""),
        (command(retry={"first": "100"}), "spec.retry.first", DURATION_RULE, "'100'"),
        (command(retry={"first": 5}), "spec.retry.first", DURATION_RULE, "5"),
        (command(retry={"first": "0s"}), "spec.retry.first", "must be between 1ms and 24h", "'0s'"),
        (command(retry={"cap": "25h"}), "spec.retry.cap", "must be between 1ms and 24h", "'25h'"),
        (command(retry={"first": "5s", "cap": "1s"}), "spec.retry", "first (5s) must not be above cap (1s)", ""),
        (command(retry={"factor": 0.5}), "spec.retry.factor", "must be at least 1.0", "0.5"),
        (command(retry={"factor": "2"}), "spec.retry.factor", "must be a number", "'2'"),
        (command(retry={"maxAttempts": -1}), "spec.retry.maxAttempts", "must be at least 0", "-1"),
        (command(retry={"maxAttempts": 1.5}), "spec.retry.maxAttempts", "must be a whole number", "1.5"),
        (function(timeout="5s"), "spec", "must have exactly one of command, url and image, not none", ""),
        (
            function(url="http://a", image="b:1"),
            "spec",
            "must have exactly one of command, url and image, not url and image",
            "",
        ),
        (function(url="http://a", scale={"max": 4}), "spec", "scale stands with image only, not with url", ""),
        (function(image="a:1", files=["*.py"]), "spec", "files stands with command only, not with image", ""),
        (function(url="http://a", env={"A": "b"}), "spec", "env stands with command or image only: somebody else runs a url", ""),
        (function(url="http://a", timeout="2m"), "spec.timeout", "must be between 1ms and 60s", "'2m'"),
        (function(image="a:1", env={"PORT": 80}), "spec.env.PORT", "must be text: quote it", "80"),
        (function(image="a:1", scale={"min": 3, "max": 2}), "spec.scale", "min (3) must not be above max (2)", ""),
        (function(image="a:1", scale={"concurrency": 17}), "spec.scale.concurrency", "must be at most 16", "17"),
        (function(command=["./run"], resources={}), "spec", "resources stands with image only, not with command", ""),
        (
            function(image="a:1", resources={"memory": "1G"}),
            "spec.resources.memory",
            SIZE_RULE,
            "'1G'",
        ),
        (function(image="a:1", resources={"memory": "8Mi"}), "spec.resources.memory", "must be between 16Mi and 1024Gi", "'8Mi'"),
        (function(image="a:1", resources={"cpus": 0}), "spec.resources.cpus", "must be at least 0.01", "0"),
        (function(command=["./run"]), "spec.directory", "is required with command", ""),
        (
            function(command=["./run"], directory="src"),
            "spec.directory",
            "must be an absolute path, once it has left the manifest's folder",
            "'src'",
        ),
        (function(command=[], directory="/"), "spec.command", "must not be empty", "[]"),
    ],
)
def test_a_field_that_breaks_a_rule_is_refused_with_path_rule_and_value(
    manifest: Manifest, path: str, rule: str, value: str
) -> None:
    assert problems(manifest) == [(path, rule, value)]


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a b", "http://user:secret@a", "http://a/?q=1", "//a", "a"])
def test_a_url_is_plain_http(url: str) -> None:
    assert [path for path, _, _ in problems(function(url=url))] == ["spec.url"]


def test_all_problems_of_all_documents_are_told_at_once() -> None:
    broken = command("withdraw", events=[], retry={"cap": "x", "factr": 2})
    assert {path for path, _, _ in problems(broken, entity(apply="T"))} == {
        "metadata.name",
        "spec.events",
        "spec.retry.cap",
        "spec.retry.factr",
        "spec.apply",
    }


def test_the_manifest_of_the_design_is_good() -> None:
    container = function(image="bank-functions:1.4", timeout="5s", scale={"min": 0, "max": 4, "idle": "60s"})
    retry = {"first": "100ms", "factor": 2, "cap": "30s", "maxAttempts": 0}
    assert not plan(Registry(log=None), *bank(container, command(retry=retry))).problems  # type: ignore[arg-type]


def test_labels_and_annotations_are_allowed() -> None:
    manifest = entity()
    manifest["metadata"] |= {"labels": {"team": "payments"}, "annotations": {"note": "x"}}
    assert problems(manifest) == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "record", "name": "A", "fields": [{"name": "x", "type": "lang"}]}, "spec.schema.fields[0].type"),
        ({"type": "record", "name": "A", "fields": [{"name": "a-b", "type": "long"}]}, "spec.schema.fields[0].name"),
        ('{"type": "record", "name": "A", "fields": [{"name": "x", "type": "lang"}]}', "spec.schema.fields[0].type"),
        ({"type": "enum", "name": "A", "symbols": ["B"]}, "spec.schema"),
        ("long", "spec.schema"),
        ('{"type": "record"', "spec.schema"),
        ({"file": "a.avsc"}, "spec.schema.file"),
        ({"type": "record", "name": "A", "fields": [{"name": "x", "type": ["null", "A"]}]}, "spec.schema.fields[0].type[1]"),
        (7, "spec.schema"),
    ],
)
def test_a_schema_that_is_refused_names_the_place_in_it(schema: object, path: str) -> None:
    (problem,) = declare(documents(event(schema=schema)))[1]
    assert (problem.path, problem.resource) == (path, "Event bank/CashWithdrawn")
    assert "$" not in problem.message


async def test_a_resource_with_problems_makes_none_for_those_that_refer_to_it() -> None:
    registry = await deployed()
    broken = plan(registry, *bank(event(schema="x"), function(url="x"), entity(apply=1)))
    assert {resource for resource, _, _ in told(broken)} == {
        "Event bank/CashWithdrawn",
        "Function bank/teller",
        "Entity bank/Checking",
    }


def test_text_that_no_utf8_can_hold_is_refused() -> None:
    (problem,) = documents_of([entity(schema="\ud800")]).problems
    assert problem.message == "a document's text must be valid Unicode"
    assert documents_of([entity(**{"\udfff": 1})]).problems
    assert not documents_of([entity(schema="\U0001f4b6 \0")]).problems


@pytest.mark.parametrize("field", ["command", "directory", "files", "env"])
def test_a_nul_in_what_the_system_is_given_is_refused(field: str) -> None:
    spec: dict[str, Any] = {"command": ["a"], "directory": "/", "files": [], "env": {}}
    spec[field] = {"command": ["a\0b"], "directory": "/\0", "files": ["\0"], "env": {"A": "\0"}}[field]
    ((path, message, _),) = problems(function(**spec))
    assert path.startswith(f"spec.{field}")
    assert message == "must not hold the character NUL"


def test_what_is_no_list_of_documents_is_refused() -> None:
    for contents in (None, {}, "x", 1):
        assert [problem.message for problem in documents_of(contents).problems] == ["must be a list of manifest documents"]
    (problem,) = documents_of([entity(), 5]).problems
    assert problem.document == 2


def test_a_document_deeper_than_the_limit_is_refused() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert [problem.message for problem in documents_of([{"spec": deep}]).problems] == [
        f"a document may be nested at most {DEPTH_MAX} deep"
    ]


@given(st.decimals(min_value="0.001", max_value=999, places=3), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]))
def test_a_duration_is_its_number_times_its_unit(number: Any, unit: tuple[str, float]) -> None:
    assert duration_s(f"{number}{unit[0]}") == pytest.approx(float(number) * unit[1], abs=1e-6)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([entity(), event(), command(), function()]), st.data())
def test_any_value_in_any_place_is_taken_or_a_problem_and_never_an_exception(manifest: Manifest, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["kind", "metadata", "spec"]))
    if part != "kind" and data.draw(st.booleans()):
        field = data.draw(st.sampled_from([*manifest[part], "retry", "env", "scale", "command", "labels"]))
        mutated = {**manifest, part: {**manifest[part], field: data.draw(_JSON)}}
    else:
        mutated = {**manifest, part: data.draw(_JSON)}
    declared, found = declare(documents(mutated))
    assert found or declared
