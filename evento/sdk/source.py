"""Writes the Python source of one codec function and compiles it.

Codecs are generated because a function's process spends most of its time in them: straight-line code per class is two to
three times as fast as a generic encoder followed by a conversion.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_INDENT = "    "


class Source:
    """A function under construction: lines, fresh names, and the constants that its code refers to."""

    def __init__(self, signature: str, constants: dict[str, Any]) -> None:
        self._lines = [f"def {signature}:"]
        self._depth = 1
        self._names = 0
        self.constants = dict(constants)

    def line(self, text: str) -> None:
        """Add one statement at the present depth."""
        self._lines.append(_INDENT * self._depth + text)

    def fresh(self) -> str:
        """Return a name that no other line uses."""
        self._names += 1
        return f"v{self._names}"

    def assign(self, expression: str) -> str:
        """Give `expression` a fresh name and return it."""
        name = self.fresh()
        self.line(f"{name} = {expression}")
        return name

    def constant(self, value: Any) -> str:
        """Make `value` known to the code and return its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Indent what is added inside below `head`."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def compile(self, label: str) -> Callable[..., Any]:
        """Return the finished function; `label` names it in tracebacks."""
        text = "\n".join(self._lines)
        scope = dict(self.constants)
        exec(compile(text, f"<evento codec {label}>", "exec"), scope)  # noqa: S102  # the text is made here, of declared names only
        function: Callable[..., Any] = scope[self._lines[0][4:].split("(")[0]]
        return function
