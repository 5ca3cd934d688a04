"""The vectors are what the schemas, the codec and the SDK make of them; and what another Avro library reads."""

import io
import json

import avro.io
import avro.schema
import pytest

from evento.protocol.envelope import CALL, DISCOVERY, REPLY, EnvelopeError, decode, encode
from tests.protocol.make_vectors import CALLS, FOLDER, files, readable

SCHEMAS = {"call": CALL, "reply": REPLY, "discovery": DISCOVERY}
VECTORS = sorted(path.name for path in FOLDER.glob("*.json"))


def parts(name):
    for part, content in json.loads((FOLDER / name).read_text("utf-8")).items():
        yield part, bytes.fromhex(content["hex"]), content["decoded"]


def test_the_vectors_on_disk_are_those_that_would_be_written_now():
    assert {name: (FOLDER / name).read_text("utf-8") for name in VECTORS} == files()


@pytest.mark.parametrize("name", VECTORS)
def test_the_bytes_decode_to_the_columns_and_back(name):
    for part, body, decoded in parts(name):
        found = decode(SCHEMAS[part], body)
        assert readable(found) == decoded
        assert encode(SCHEMAS[part], found) == body


@pytest.mark.parametrize("name", VECTORS)
def test_apache_avro_reads_the_same(name):
    for part, body, decoded in parts(name):
        schema = avro.schema.parse((FOLDER.parent / f"{part}.avsc").read_text("utf-8"))
        found = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(body)))
        assert readable(found) == decoded


@pytest.mark.parametrize("spoil", [lambda body: b"", lambda body: body[:-1], lambda body: body + b"\0", lambda body: b"{}"])
def test_what_is_no_envelope_is_refused(spoil):
    with pytest.raises(EnvelopeError):
        decode(CALL, spoil(encode(CALL, CALLS["turn-first"])))
