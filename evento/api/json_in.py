"""JSON from outside to plain objects, with what a JSON library leaves open decided: depth, duplicate keys, exact decimals. Pure."""

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from evento.errors import InvalidRequest
from evento.model.limits import JSON_DEPTH_MAX

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_BRACKET = re.compile(rb"[\[\]{}]")
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

# What msgspec raises at hostile bytes.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_json(text: bytes) -> Any:
    """Return the value; numbers with a point or exponent are exact Decimals. Raises InvalidRequest."""
    if len(text) > JSON_DEPTH_MAX and text.count(b"{") + text.count(b"[") > JSON_DEPTH_MAX:
        _check_depth(text)
    try:
        value = _decode(text)
    except MALFORMED as error:
        raise InvalidRequest(f"not JSON: {error}", field="body", rule="one JSON value in UTF-8") from error
    # Each key has a colon behind it: as many colons as keys proves that no key got lost.
    if type(value) is not dict or text.count(b":") != len(value):
        _check_duplicates(text, value)
    return value


def _check_depth(text: bytes) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        depth += 1 if bracket in b"{[" else -1
        if depth > JSON_DEPTH_MAX:
            raise InvalidRequest(
                f"the JSON is nested deeper than {JSON_DEPTH_MAX}", field="body", rule=f"at most {JSON_DEPTH_MAX} levels"
            )


def _check_duplicates(text: bytes, value: Any) -> None:
    if len(_KEY_END.findall(text)) != _keys(value):
        json.loads(text, object_pairs_hook=_without_duplicates, parse_float=str, parse_int=str)


def _keys(value: Any) -> int:
    if type(value) is dict:
        return len(value) + sum(_keys(inner) for inner in value.values() if type(inner) in (dict, list))
    if type(value) is list:
        return sum(_keys(inner) for inner in value if type(inner) in (dict, list))
    return 0


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the key {twice[:80]!r} is there twice", field=twice[:80], rule="each key at most once")
