"""A schema as the rest of Evento holds it: its text, its names, and everything that can be done with its payloads.

Payloads go in and out as canonical Avro bytes or as plain JSON values; nobody outside this package sees a decoded datum.
What is costly to build is built on first use and kept.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from evento.errors import PayloadRefused, SchemaRefused
from evento.schema import apache
from evento.schema.admission import admit
from evento.schema.compatibility import Comparison, Incompatibility
from evento.schema.leaves import Encode
from evento.schema.node import Node, Record, branch_name
from evento.schema.normal import canonical_bytes
from evento.schema.plain import compile_encode
from evento.schema.resolution import compile_resolver
from evento.schema.skim import QUICK_ERRORS, compile_check, compile_render
from evento.schema.unfit import Unfit, shorten


class Schema:
    """An admitted Avro schema; made by `parse_schema`. Equal when the texts are equal. Safe to share between threads."""

    def __init__(self, node: Node, text: str) -> None:
        self.node = node
        self._text = text

    @property
    def text(self) -> str:
        """The complete schema as compact JSON, named types inlined, every attribute kept."""
        return self._text

    @property
    def full_name(self) -> str:
        """The name with its namespace; of a type without name, its kind."""
        return branch_name(self.node)

    @cached_property
    def fingerprint(self) -> str:
        """CRC-64-AVRO of the parsing canonical form, 16 hex digits, in the byte order of the single-object encoding."""
        return apache.fingerprint(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"<Schema {self.full_name} {self.fingerprint}>"

    # -------------------------------------------------------------- the guard
    def check(self, payload: bytes) -> None:
        """Raise PayloadRefused unless the payload is the canonical encoding of a value of this schema."""
        try:
            self._check(payload)
        except QUICK_ERRORS:
            raise self._refusal(payload) from None

    def check_many(self, payloads: Sequence[bytes]) -> Sequence[PayloadRefused | None]:
        """Return for each payload what `check` says about it; one bad payload spoils no other."""
        check, verdicts = self._check, list[PayloadRefused | None]()
        for payload in payloads:
            try:
                check(payload)
                verdicts.append(None)
            except QUICK_ERRORS:
                verdicts.append(self._refusal(payload))
        return verdicts

    def canonical(self, payload: bytes) -> bytes:
        """Return the canonical encoding of a payload in any legal Avro encoding. Raises PayloadRefused."""
        try:
            self._check(payload)
        except QUICK_ERRORS:
            try:
                return canonical_bytes(self.node, payload)
            except Unfit as unfit:
                raise _refused(unfit) from None
        return payload

    def canonical_many(self, payloads: Sequence[bytes]) -> Sequence[bytes | PayloadRefused]:
        """Return for each payload its canonical encoding, or why there is none."""
        check, results = self._check, list[bytes | PayloadRefused]()
        for payload in payloads:
            try:
                check(payload)
                results.append(payload)
            except QUICK_ERRORS:
                try:
                    results.append(canonical_bytes(self.node, payload))
                except Unfit as unfit:
                    results.append(_refused(unfit))
        return results

    # -------------------------------------------------------------- plain JSON
    def from_json(self, value: object) -> bytes:
        """Return the canonical encoding of a plain JSON value, already parsed. Raises PayloadRefused with `path` and `rule`."""
        try:
            return self._encode(value)
        except Unfit as unfit:
            raise _refused(unfit) from None

    def to_json(self, payload: bytes) -> object:
        """Return the plain JSON value of a canonical payload. Raises PayloadRefused."""
        try:
            return self._render(payload)
        except QUICK_ERRORS:
            raise self._refusal(payload) from None

    def to_json_many(self, payloads: Sequence[bytes]) -> list[object]:
        """Return the plain JSON value of each canonical payload. Raises PayloadRefused at the first that is not."""
        return list(map(self.to_json, payloads))

    def check_and_render(self, payloads: Sequence[bytes]) -> Sequence[object | PayloadRefused]:
        """Return the plain JSON value of each payload, or what `check` says about it, in one pass."""
        render, values = self._render, list[object]()
        for payload in payloads:
            try:
                values.append(render(payload))
            except QUICK_ERRORS:
                values.append(self._refusal(payload))
        return values

    # -------------------------------------------------------------- compiled on first use
    @cached_property
    def _check(self) -> Callable[[bytes], None]:
        return compile_check(self.node)

    @cached_property
    def _render(self) -> Callable[[bytes], object]:
        return compile_render(self.node)

    @cached_property
    def _encode(self) -> Encode:
        return compile_encode(self.node)

    def _refusal(self, payload: bytes) -> PayloadRefused:
        """Return why the quick guard said no, found by the slow reader."""
        try:
            canonical = canonical_bytes(self.node, payload)
        except Unfit as unfit:
            return _refused(unfit)
        at = next(
            (at for at, (a, b) in enumerate(zip(payload, canonical, strict=False)) if a != b), min(len(payload), len(canonical))
        )
        return PayloadRefused(
            f"$: must be in the canonical encoding; it differs from byte {at} on", path="$", rule="canonical encoding"
        )


def parse_schema(definition: object, *, named: Mapping[str, object] | None = None) -> Schema:
    """Return the schema of a definition: JSON text, parsed JSON, or the name of a type.

    `named` has types shared between files, by full name; each is inlined where it is first used.
    Raises SchemaRefused, with `path`, when the schema does not parse or breaks a limit.
    """
    node, text = admit(definition, named or {})
    apache.check_parsers(text)
    return Schema(node, text)


def require_record(schema: Schema) -> Schema:
    """Return the schema, or raise SchemaRefused: an Entity, a Command and an Event are records."""
    if not isinstance(schema.node, Record):
        raise SchemaRefused(f"$: must be a record, got {shorten(schema.full_name)}", path="$")
    return schema


def resolver(writer: Schema, reader: Schema) -> Callable[[bytes], bytes]:
    """Return the function from canonical bytes of the writer's schema to canonical bytes of the reader's.

    It raises Unreadable for bytes that are not the writer's. Raises Unreadable when some value of the writer could not be read.
    """
    return compile_resolver(writer.node, reader.node)


def incompatibilities(*, reader: Schema, writer: Schema) -> Sequence[Incompatibility]:
    """Return all that keeps the reader's schema from reading what was written with the writer's; nothing when all is well."""
    if reader == writer:
        return ()
    own = Comparison().between(reader.node, writer.node)
    return own or (apache.second_opinion(reader.text, writer.text) if apache.HAS_APACHE else ())


def _refused(unfit: Unfit) -> PayloadRefused:
    shown = None if unfit.value is None else shorten(unfit.value)
    return PayloadRefused(f"{unfit.path}: {unfit.sentence}", path=unfit.path, rule=unfit.rule, value=shown)
