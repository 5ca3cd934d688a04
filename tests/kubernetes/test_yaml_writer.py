"""What is written is read as the same by every reader: ours, YAML 1.2's, and those of YAML 1.1, as kubectl's is."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rendered import everything, text

from evento.kubernetes import yaml_text
from evento.registry.yaml_reader import read_yaml

TRAPS = [
    *("NO", "no", "yes", "on", "Off", "y", "N", "true", "null", "Null", "~", "", " ", "1", "1.5", "1e3", "0x1f", "0o17", "017"),
    *("1:30", "2024-01-01", "-", "- a", "a: b", "a #b", "#a", "&a", "*a", "!a", "%a", "@a", "`a", "'a'", '"a"', "{a}", "[a]"),
    *("a\n", "\na", "a\nb", "a\n\nb\n", "a \nb", "a\tb", "a\n\tb", "\0", "\x7f", "\u2028", "é", "😀", "...", "---", "=", "<<"),
    *(".5", ".inf", ".nan"),
]


@pytest.mark.parametrize("trap", TRAPS)
def test_text_stays_text(trap: str) -> None:
    objects = [{"value": trap, "list": [trap], f"key{trap}": 1}]
    if trap:
        objects.append({trap: trap})
    written = yaml_text(objects)
    assert list(yaml.safe_load_all(written)) == objects
    assert [document.value for document in read_yaml(written)] == objects


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_any_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    written = yaml_text([value])
    assert list(yaml.safe_load_all(written)) == [value]
    assert yaml_text([value]) == written


def test_everything_rendered_is_read_as_it_was_written() -> None:
    assert list(yaml.safe_load_all(text())) == everything()
    assert [document.value for document in read_yaml(text())] == everything()


def test_the_same_objects_are_the_same_text_and_nothing_is_an_alias() -> None:
    shared = {"a": "b"}
    assert yaml_text([{"x": shared, "y": shared}]) == '---\nx:\n  a: b\n"y":\n  a: b\n'
    assert text() == yaml_text(everything())
