"""What is signed: as the RFCs say, as the vectors have it, and nothing else is read from the headers."""

import json
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evento.protocol.signature import (
    content_digest,
    headers_of,
    key_id_of,
    parameters_of,
    public_key_text,
    read_claim,
    read_public_key,
)
from tests.protocol.make_vectors import KEY, SIGNED_FOLDER, signed_files

VECTORS = sorted(path.name for path in SIGNED_FOLDER.glob("*.json"))


def test_the_vectors_on_disk_are_those_that_would_be_written_now():
    assert {name: (SIGNED_FOLDER / name).read_text("utf-8") for name in VECTORS} == signed_files()


@pytest.mark.parametrize("name", VECTORS)
def test_a_verifier_that_knows_nothing_of_this_module_verifies_the_vectors(name):
    """Only the words of rules 37 to 39, taken by hand."""
    vector = json.loads((SIGNED_FOLDER / name).read_text("utf-8"))
    headers = vector["headers"]
    parameters = headers["Signature-Input"].removeprefix("evento=")
    lines = [
        f'"@method": {vector["method"]}',
        f'"@path": {vector["path"]}',
        f'"content-digest": {headers["Content-Digest"]}',
        f'"@signature-params": {parameters}',
    ]
    assert "\n".join(lines) == vector["signed"]
    signature = b64decode(headers["Signature"].removeprefix("evento=:").removesuffix(":"))
    public = Ed25519PublicKey.from_public_bytes(read_public_key(vector["public_key"]))
    public.verify(signature, vector["signed"].encode())
    assert headers["Content-Digest"] == content_digest(bytes.fromhex(vector["body"]))
    assert f'keyid="{vector["key_id"]}"' in parameters


def test_key_ids_are_the_thumbprints_of_rfc_8037():
    assert KEY.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # appendix A.3 of that RFC
    assert KEY.public == "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # appendix A.2
    assert key_id_of(read_public_key(KEY.public)) == KEY.id


def test_the_digest_is_that_of_rfc_9530():
    """Appendix B.1 and the empty body of appendix B.2 of that RFC."""
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert content_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


@pytest.mark.parametrize("text", ["", "ed25519:", KEY.public.removeprefix("ed25519:"), f"{KEY.public}A", f"{KEY.public} "])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ValueError, match="a public key is ed25519:"):
        read_public_key(text)


def test_a_public_key_is_written_as_it_is_read():
    assert public_key_text(read_public_key(KEY.public)) == KEY.public


GOOD = headers_of(digest=content_digest(b""), parameters=parameters_of(created_s=7, key_id=KEY.id), signature=bytes(64))


def claim(**change):
    digest, given, signature = (GOOD[name] for name in ("Content-Digest", "Signature-Input", "Signature"))
    return read_claim(**({"digest": digest, "given": given, "signature": signature} | change))


def test_what_was_written_is_read():
    read = claim()
    assert (read.created_s, read.key_id, read.digest) == (7, KEY.id, content_digest(b""))
    assert read.signature == bytes(64) and GOOD["Signature-Input"] == f"evento={read.parameters}"


@pytest.mark.parametrize(
    "change",
    [
        {"digest": ""},
        {"digest": "sha-512=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"},
        {"digest": f"{GOOD['Content-Digest']}, sha-512=:AA==:"},
        {"given": ""},
        {"given": GOOD["Signature-Input"].replace("@path", "@target-uri")},
        {"given": GOOD["Signature-Input"].replace(' "content-digest"', "")},
        {"given": GOOD["Signature-Input"].replace("ed25519", "hmac-sha256")},
        {"given": GOOD["Signature-Input"].replace("created=7", "created=-7")},
        {"given": GOOD["Signature-Input"].replace("created=7", f"created={'7' * 5000}")},
        {"given": GOOD["Signature-Input"].replace(KEY.id, "../../etc/passwd")},
        {"given": f"{GOOD['Signature-Input']}\n"},
        {"signature": GOOD["Signature"].replace("evento", "other")},
        {"signature": "evento=:AAAA:"},
    ],
)
def test_another_form_is_refused_by_the_name_of_its_header(change):
    name = {"digest": "Content-Digest", "given": "Signature-Input", "signature": "Signature"}[next(iter(change))]
    with pytest.raises(ValueError, match=f"^{name} must be"):
        claim(**change)
