"""Properties over generated schemas and values: what goes in as JSON comes out as it went in, and one value has one encoding."""

import io
import json

import fastavro
import pytest
from avro_strategies import definitions, payload_pairs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evento.errors import PayloadRefused, Unreadable
from evento.schema import Schema, incompatibilities, parse_schema, resolver

MANY = settings(max_examples=300, deadline=None)


def refused(schema: Schema, payload: bytes) -> bool:
    try:
        schema.check(payload)
    except PayloadRefused:
        return True
    return False


def physical(definition):
    """Return a definition without logical types, which fastavro would convert."""
    if isinstance(definition, list):
        return [physical(branch) for branch in definition]
    if isinstance(definition, dict):
        return {name: physical(part) for name, part in definition.items() if name != "logicalType"}
    return definition


def has_union(definition) -> bool:
    """Return whether there is a union of several types besides null, whose type fastavro's writer guesses, wrongly at times."""
    if isinstance(definition, list):
        return sum(branch != "null" for branch in definition) > 1 or any(map(has_union, definition))
    if isinstance(definition, dict):
        parts = [definition.get("items"), definition.get("values"), *[field["type"] for field in definition.get("fields", [])]]
        return any(map(has_union, parts))
    return False


@MANY
@given(payload_pairs())
def test_a_value_survives_the_way_to_avro_and_back(pair):
    schema = parse_schema(pair[0])
    payload = schema.from_json(pair[1])
    schema.check(payload)
    assert schema.canonical(payload) == payload
    rendered = schema.to_json(payload)
    assert schema.from_json(rendered) == payload
    assert schema.from_json(json.loads(json.dumps(rendered, allow_nan=False))) == payload
    assert schema.check_and_render([payload]) == [rendered]


@MANY
@given(payload_pairs())
def test_fastavro_reads_our_bytes_and_writes_the_same(pair):
    schema = parse_schema(pair[0])
    payload = schema.from_json(pair[1])
    parsed = fastavro.parse_schema(physical(json.loads(schema.text)))
    stream = io.BytesIO(payload)
    datum = fastavro.schemaless_reader(stream, parsed, None)
    assert stream.tell() == len(payload)
    assume(not has_union(pair[0]))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, datum)
    assert out.getvalue() == payload


@settings(max_examples=60, deadline=None)
@given(payload_pairs(), st.data())
def test_every_single_byte_mutation_is_refused_or_canonical(pair, data):
    schema = parse_schema(pair[0])
    payload = schema.from_json(pair[1])
    for at in range(min(len(payload), 40)):
        for byte in {*data.draw(st.sets(st.integers(0, 255), max_size=8)), 0, 1, 2, 127, 128, 129, 255} - {payload[at]}:
            mutated = payload[:at] + bytes((byte,)) + payload[at + 1 :]
            try:
                canonical = schema.canonical(mutated)
            except PayloadRefused:
                assert refused(schema, mutated)
            else:
                assert refused(schema, mutated) == (canonical != mutated)
                assert not refused(schema, canonical)
                assert schema.from_json(schema.to_json(canonical)) == canonical


@MANY
@given(definitions(), st.binary(max_size=40))
def test_any_bytes_are_refused_or_have_one_canonical_form(definition, noise):
    schema = parse_schema(definition)
    try:
        canonical = schema.canonical(noise)
    except PayloadRefused as error:
        assert error.details["path"].startswith("$")
        assert refused(schema, noise)
        assert isinstance(schema.check_and_render([noise])[0], PayloadRefused)
    else:
        schema.check(canonical)
        assert schema.canonical(canonical) == canonical


@MANY
@given(payload_pairs(), st.integers(0, 40))
def test_a_cut_or_lengthened_payload_is_refused(pair, cut):
    schema = parse_schema(pair[0])
    payload = schema.from_json(pair[1])
    assert refused(schema, payload + b"\0")
    if cut < len(payload):
        assert refused(schema, payload[:cut]) or schema.from_json(schema.to_json(payload[:cut])) == payload[:cut]


@MANY
@given(definitions())
def test_a_schema_is_the_same_after_its_own_text(definition):
    schema = parse_schema(definition)
    again = parse_schema(schema.text if schema.text[0] in '{["' else json.loads(schema.text))
    assert again == schema
    assert again.fingerprint == schema.fingerprint
    assert not incompatibilities(reader=again, writer=schema)


@MANY
@given(payload_pairs())
def test_a_field_more_and_a_field_less_are_always_readable(pair):
    definition, value = pair
    kept, gone, fresh = (
        {"name": "kept", "type": definition},
        {"name": "gone", "type": "string"},
        {"name": "fresh", "type": "int", "default": 7},
    )
    writer = parse_schema({"type": "record", "name": "T", "fields": [gone, kept]})
    reader = parse_schema({"type": "record", "name": "T", "fields": [kept, fresh]})
    payload = writer.from_json({"gone": "x", "kept": value})
    assert not incompatibilities(reader=reader, writer=writer)
    resolved = resolver(writer, reader)(payload)
    reader.check(resolved)
    assert reader.to_json(resolved) == {"kept": writer.to_json(payload)["kept"], "fresh": 7}


@MANY
@given(definitions(2), payload_pairs(2))
def test_what_is_called_compatible_is_readable_and_the_rest_is_refused(other, pair):
    reader, writer = parse_schema(other), parse_schema(pair[0])
    payload = writer.from_json(pair[1])
    if incompatibilities(reader=reader, writer=writer):
        with pytest.raises(Unreadable):
            resolver(writer, reader)
    else:
        reader.check(resolver(writer, reader)(payload))


def test_one_bad_payload_spoils_no_other():
    schema = parse_schema(
        {"type": "record", "name": "T", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "long"}]}
    )
    good = schema.from_json({"a": "x", "b": 5})
    borrowing, left_over = good[:-1], good + b"\x02"  # together they would be two good ones
    verdicts = schema.check_many([good, borrowing, left_over, good])
    assert [verdict is None for verdict in verdicts] == [True, False, False, True]
    rendered = schema.check_and_render([good, borrowing, left_over, good])
    assert rendered[0] == rendered[3] == {"a": "x", "b": 5}
    assert all(isinstance(value, PayloadRefused) for value in rendered[1:3])
    assert schema.canonical_many([good, borrowing])[0] == good
    with pytest.raises(PayloadRefused, match=r"\$\.b"):
        schema.to_json_many([good, borrowing])
