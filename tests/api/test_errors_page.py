"""The reference page on errors is made from `evento/errors.py`; `python tests/api/test_errors_page.py` writes it."""

from collections.abc import Iterator
from pathlib import Path

from evento import errors
from evento.errors import EventoError

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"
HEAD = """# Errors

Everything that Evento refuses is told as `application/problem+json` (RFC 9457): `type` is `urn:evento:error:` and the code,
`status` the HTTP status, `code` the code again, `title` the sentence below, `detail` what happened this time. Further members
name the field, the rule and the value. What to do: *never* means that the same request fails again; *later*: send it again, with
the same command id; *rewind* and *stop* are Evento's own affair. Two more codes stand on outcomes that say no, and are no errors:
`rejected` (422, the business said no) and `discarded` (409, an operator gave the Command up).

This page is made from `evento/errors.py`; a test compares the two.
"""


def families() -> list[type[EventoError]]:
    return EventoError.__subclasses__()


def rows(kind: type[EventoError]) -> Iterator[str]:
    for each in (kind, *kind.__subclasses__()):
        sentence = " ".join((each.__doc__ or "").split())
        yield f"| `{each.code}` | {each.status} | {each.remedy} | {sentence} |"


def page() -> str:
    table = "| code | status | what to do | meaning |\n| --- | --- | --- | --- |\n"
    own = (
        f"| `{EventoError.code}` | {EventoError.status} | {EventoError.remedy} | {' '.join((EventoError.__doc__ or '').split())} |"
    )
    parts = [f"{HEAD}\n{table}{own}\n"]
    for kind in families():
        parts.append(f"\n## {kind.__name__.removesuffix('Error')}\n\n{table}" + "\n".join(rows(kind)) + "\n")
    return "".join(parts)


def test_the_page_is_what_the_module_says() -> None:
    assert PAGE.read_text() == page(), "run: python tests/api/test_errors_page.py"


def test_codes_are_stable_names_and_used_once() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EventoError)]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)


if __name__ == "__main__":
    PAGE.write_text(page())
