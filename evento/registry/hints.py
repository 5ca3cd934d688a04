"""The name that was perhaps meant. Pure; gives up where looking for it would cost more than it helps."""

from collections.abc import Collection
from difflib import get_close_matches

_KNOWN_MAX = 500
_ASKED_CHARACTERS_MAX = 80


def perhaps_meant(asked: str, known: Collection[str]) -> str | None:
    """Return the known name that is closest to the one asked for, if one is close."""
    if len(asked) > _ASKED_CHARACTERS_MAX or len(known) > _KNOWN_MAX:
        return None
    return next(iter(get_close_matches(asked, sorted(known), 1)), None)


def hint(asked: str, known: Collection[str]) -> str:
    """Return the end of a sentence that says which name was perhaps meant; empty if none is close."""
    meant = perhaps_meant(asked, known)
    return f"; did you mean {meant}?" if meant else ""
