"""The file of the signing key: made once, for this user alone, and shown nowhere."""

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from evento.errors import SettingsError
from evento.keys import make_signing_key, read_signing_key


def test_a_key_that_was_made_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    made = make_signing_key(file)
    assert (made.id, made.public) == (read_signing_key(file).id, read_signing_key(file).public)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_signing_key(tmp_path / "other.pem").id != made.id


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    key = make_signing_key(file)
    with pytest.raises(SettingsError, match="never written over"):
        make_signing_key(file)
    assert read_signing_key(file).id == key.id
    with pytest.raises(SettingsError, match="No such file"):
        make_signing_key(tmp_path / "nowhere" / "signing.pem")


def test_a_key_made_by_openssl_is_read(tmp_path: Path) -> None:
    file = tmp_path / "openssl.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", file], check=True)
    assert read_signing_key(file).public.startswith("ed25519:")


def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for content in (b"", b"s3cret words", elliptic, locked, elliptic[:-40]):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(SettingsError, match="is not an Ed25519 private key in PEM without a password") as error:
            read_signing_key(tmp_path / "key")
        assert not content or content.decode()[-20:] not in str(error.value)
    with pytest.raises(SettingsError, match="No such file"):
        read_signing_key(tmp_path / "nothing")


def test_a_key_shows_its_id_and_nothing_of_itself(tmp_path: Path) -> None:
    key = make_signing_key(tmp_path / "k")
    assert repr(key) == f"SigningKey({key.id})"
