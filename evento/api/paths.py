"""What a path says, before anything is looked up. Pure."""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from evento.errors import InvalidRequest

_COMMAND_SEGMENTS = 6  # "", v1, namespace, Entity, id, Command


def read_path(raw: bytes) -> list[str]:
    """Return the decoded segments of a path, the first one empty.

    Raises InvalidRequest for what would make two different paths one: bytes that are not UTF-8, and a slash in a segment.
    """
    text = raw.decode("ascii")
    segments = text.split("/")
    if "%" in text:
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in segments]
        except UnicodeDecodeError as error:
            raise InvalidRequest("the path is not UTF-8", field="path", rule="percent-encoded UTF-8", value=text[:80]) from error
        if any("/" in segment for segment in segments):
            raise InvalidRequest("the path has an encoded slash", field="path", rule="no %2F", value=text[:80])
    return segments


def command_place(segments: Sequence[str]) -> Sequence[str] | None:
    """Return namespace, Entity, instance id and Command if this is a Command's path."""
    if len(segments) == _COMMAND_SEGMENTS and segments[1] == "v1" and not segments[5].islower():
        return segments[2:]
    return None
