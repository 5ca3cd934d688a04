"""YAML with line numbers, and without what YAML should not do."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evento.registry.limits import DEPTH_MAX
from evento.registry.yaml_reader import YamlRefused, read_yaml


@pytest.mark.parametrize(
    "word", ["NO", "no", "Yes", "ON", "off", "y", "n", "2024-01-01", "1_000", "12:30:45", "0b1", "0777x", ".inf", ".nan", "<<"]
)
def test_words_that_other_readers_change_stay_text(word: str) -> None:
    assert read_yaml(f"a: [{word}]")[0].value == {"a": [word]}


def test_numbers_booleans_and_null_are_those_of_yaml_1_2() -> None:
    text = "[1, -2, 0o17, 0x1F, 1.5, 1e3, true, False, null, ~, '1', \"true\", 007]"
    assert read_yaml(text)[0].value == [1, -2, 15, 31, 1.5, 1000.0, True, False, None, None, "1", "true", 7]


def test_a_directive_for_yaml_1_1_does_not_bring_its_booleans_back() -> None:
    assert read_yaml("%YAML 1.1\n---\na: yes")[0].value == {"a": "yes"}


def test_every_value_has_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - {c: y}\n---\n\nd: 2\n")
    assert document[0].lines[("a",)] == 1
    assert document[0].lines[("b", 1, "c")] == 4
    assert document[1].lines[("d",)] == 7


def test_empty_documents_are_left_out() -> None:
    assert read_yaml("---\n---\n# nothing\n---\na: 1\n---\n") == read_yaml("\n\n\n\na: 1")


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, "the key 'c' stands here twice"),
        ("a: &x 1\n", 1, "anchors are not allowed: &x"),
        ("a: 1\nb: *x\n", 2, "aliases are not allowed: write out what *x stands for"),
        ("a: !!python/object:os.system x", 1, "tags are not allowed"),
        ("a: !!set {x}", 1, "tags are not allowed"),
        ("a: 1\n2: b\n", 2, "the key '2' must be text: quote it"),
        ("? [x]\n: 1\n", 1, "a key must be text"),
        ("\na: [1, 2\n", 3, "is not YAML"),
        ("a: b: c", 1, "is not YAML"),
        ("a: 1e999", 1, "the number 1e999 is out of range"),
        ("a: " + "9" * 5000, 1, "is out of range"),
        ("a: \x00", 0, "is not YAML"),
        ("- " * (DEPTH_MAX + 1) + "x", 1, f"nested more than {DEPTH_MAX} deep"),
        ("[" * 100_000, 1, f"nested more than {DEPTH_MAX} deep"),
        ("{a: " * 100_000, 1, f"nested more than {DEPTH_MAX} deep"),
    ],
)
def test_what_surprises_or_explodes_is_refused_with_its_line(text: str, line: int, rule: str) -> None:
    with pytest.raises(YamlRefused, match=rule.replace("*", r"\*").replace("&", "&")) as refused:
        read_yaml(text)
    assert refused.value.line == line


def test_a_billion_laughs_end_at_the_first() -> None:
    laughs = "a: &a [lol]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))
    started = time.thread_time()
    with pytest.raises(YamlRefused, match="anchors are not allowed"):
        read_yaml(laughs)
    assert time.thread_time() - started < 1


def test_more_values_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.registry.yaml_reader.NODES_MAX", 100)
    with pytest.raises(YamlRefused, match="more than 100 values"):
        read_yaml("\n".join("- x" for _ in range(300)))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), _VALUES, min_size=1, max_size=4))
def test_every_json_document_is_read_as_itself(value: dict[str, object]) -> None:
    # YAML forbids raw control characters, so JSON's escapes are used for everything beyond ASCII; surrogate pairs are JSON's alone.
    text = json.dumps(value)
    if "\\ud" not in text:
        assert read_yaml(text)[0].value == value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_else_is_raised(text: str) -> None:
    try:
        read_yaml(text)
    except YamlRefused as refused:
        assert refused.message
