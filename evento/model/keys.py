"""Names and identities: who an instance is, and which names are allowed."""

import re
import unicodedata
from typing import NamedTuple

from evento.errors import InvalidName

INSTANCE_ID_BYTES_MAX = 255
LABEL_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")  # of a namespace, and of a function
TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_PLAIN_ID = re.compile(r"[!-.0-~]{1,255}")  # visible ASCII but for the slash
_COMMAND_ID = re.compile(r"[A-Za-z0-9._:@=+-]{1,128}")


class EntityKey(NamedTuple):
    """The identity of one instance; it never changes."""

    namespace: str
    entity: str
    id: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.entity}/{self.id}"


def check_namespace(name: str) -> str:
    """Return `name`, or raise InvalidName: lower-case letters, digits and dashes, at most 63, as a DNS label."""
    return _check(LABEL_NAME, name, "namespace", "lower-case letters, digits and dashes, 1 to 63, starting with a letter")


def check_function_name(name: str) -> str:
    """Return `name`, or raise InvalidName: the same rule as for namespaces."""
    return _check(LABEL_NAME, name, "function", "lower-case letters, digits and dashes, 1 to 63, starting with a letter")


def check_type_name(name: str, field: str = "name") -> str:
    """Return `name` of an Entity, Command or Event, or raise InvalidName: a capital first, then letters and digits."""
    return _check(TYPE_NAME, name, field, "a capital letter, then letters and digits, at most 63")


def check_command_id(command_id: str) -> str:
    """Return `command_id`, or raise InvalidName: 1 to 128 of letters, digits and `._:@=+-` (it stands in URLs)."""
    return _check(_COMMAND_ID, command_id, "command id", "1 to 128 of letters, digits and . _ : @ = + -")


def check_instance_id(instance_id: str) -> str:
    """Return `instance_id`, or raise InvalidName.

    Any text of 1 to 255 bytes of UTF-8 in normal form C, without control or format characters, `/`, and not `.` or `..`.
    Most ids are plain ASCII, and those pass without the costly checks.
    """
    if _PLAIN_ID.fullmatch(instance_id) and instance_id not in (".", ".."):
        return instance_id
    rule = _broken_instance_rule(instance_id)
    if rule:
        raise InvalidName(f"instance id {instance_id[:80]!r}: {rule}", field="id", rule=rule, value=instance_id[:80])
    return instance_id


def _broken_instance_rule(instance_id: str) -> str | None:
    if not instance_id:
        return "must not be empty"
    try:
        size = len(instance_id.encode())
    except UnicodeEncodeError:
        return "must be valid Unicode"
    if size > INSTANCE_ID_BYTES_MAX:
        return f"must be at most {INSTANCE_ID_BYTES_MAX} bytes of UTF-8"
    if instance_id in (".", ".."):
        return "must not be '.' or '..'"
    if "/" in instance_id:
        return "must not contain '/'"
    if instance_id[0] == " " or instance_id[-1] == " ":
        return "must not begin or end with a space"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in instance_id):
        return "must not contain control or format characters"
    if not unicodedata.is_normalized("NFC", instance_id):
        return "must be in Unicode normal form C"
    return None


def _check(pattern: re.Pattern[str], value: str, field: str, rule: str) -> str:
    if not pattern.fullmatch(value):
        raise InvalidName(f"{field} {value[:80]!r}: must be {rule}", field=field, rule=rule, value=value[:80])
    return value
