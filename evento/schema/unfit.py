"""How a misfit finds its way out: raised where it is met, it collects the path on the way up, and is translated once at the top.

Building the path only on failure keeps the ordinary way free of it.
"""

SHOWN_CHARS_MAX = 60


class Unfit(Exception):
    """A value breaks `rule`; `steps` is the path to it, innermost first."""

    def __init__(self, rule: str, value: object = None) -> None:
        self.rule = rule
        self.value = value
        self.steps: list[str] = []
        super().__init__(rule)

    @property
    def path(self) -> str:
        """Return where it is, as `$.items[2].price`."""
        return "$" + "".join(reversed(self.steps))

    @property
    def sentence(self) -> str:
        """Return the rule, with the value when there is one to show."""
        return self.rule if self.value is None else f"{self.rule}, got {shorten(self.value)}"


def shorten(value: object) -> str:
    """Return a value as it is shown in an error, cut so that no error repeats a whole payload."""
    if isinstance(value, str | bytes):
        text = repr(value[: SHOWN_CHARS_MAX + 1])
    elif isinstance(value, dict | list):
        text = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    elif isinstance(value, int) and value.bit_length() > 128:
        text = "a number of more than 38 digits"
    else:
        text = "null" if value is None else repr(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
