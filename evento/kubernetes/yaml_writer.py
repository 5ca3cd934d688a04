"""Objects to YAML that every reader understands alike, the same text for the same objects.

Kubernetes' tools read some words as YAML 1.1 does, where NO is a boolean and 1:30 a number: what is not plainly a word is quoted.
"""

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
_NOT_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_WIDTH = 1_000_000  # a line is never broken


class _Representer(SafeRepresenter):
    def represent_text(self, text: str) -> ScalarNode:
        plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="" if plain else _style(text))

    def ignore_aliases(self, data: Any) -> bool:
        return True  # what occurs twice is written twice


_Representer.add_representer(str, _Representer.represent_text)


def _style(text: str) -> str:
    """Return how a text that is no plain word is written: as a block where that keeps every character."""
    lines = text.split("\n")
    block = len(lines) > 1 and text.isprintable() is False and all(line == line.rstrip() and line.isprintable() for line in lines)
    return "|" if block and not text.startswith((" ", "\n")) else '"'


def yaml_text(objects: Sequence[Any]) -> str:
    """Return objects as a stream of YAML documents."""
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = _WIDTH
    writer.explicit_start = True
    out = StringIO()
    writer.dump_all(objects, out)
    return out.getvalue()
