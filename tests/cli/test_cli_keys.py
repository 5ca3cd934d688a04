"""`evento keys`, and the settings that use a key, as a person meets them."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import Platform, environment, evento, evento_process, start

from tests.faults.node import eventually
from tests.ports import free_port

BANK = Path(__file__).parents[2] / "examples" / "bank"


@contextmanager
def elsewhere(folder: Path, **env: str) -> Iterator[Path]:
    """Run the bank's function as somebody else would, and return manifests that have its address."""
    port = free_port()
    sdk = [sys.executable, "-m", "evento.sdk"]
    described = subprocess.run([*sdk, "--describe", "bank"], cwd=BANK, env=environment(), capture_output=True, check=True)
    documents = json.loads(described.stdout)
    for document in documents:
        if document["kind"] == "Function":
            document["spec"] = {"url": f"http://127.0.0.1:{port}"}
    manifests = folder / "manifests.yaml"
    manifests.write_text("\n---\n".join(map(json.dumps, documents)))
    function = subprocess.Popen([*sdk, "bank"], cwd=BANK, env=environment(PORT=str(port), **env))
    try:
        yield manifests
    finally:
        function.kill()
        function.wait()


@contextmanager
def developing(manifests: Path, **env: str) -> Iterator[Platform]:
    running, process = start(manifests, manifests.parent / "data", **env)
    try:
        yield running
    finally:
        process.terminate()
        process.wait(90)


OPEN = ("send", "bank/Checking/alice", "OpenChecking", "owner=Alice", "overdraft_limit=0.00")


def test_a_function_that_somebody_else_runs_is_called_signed(tmp_path: Path) -> None:
    """`evento dev` lets pass what is on the same machine."""
    public = evento("keys", "make", str(tmp_path / "signing.pem")).stdout.strip()
    with (
        elsewhere(tmp_path, EVENTO_FUNCTION_KEYS=public) as manifests,
        developing(manifests, EVENTO_SIGNING_KEY=str(tmp_path / "signing.pem")) as platform,
    ):
        assert platform(*OPEN).stdout.startswith("succeeded, version 1")


def test_the_check_of_a_function_that_wants_signatures_needs_the_key(tmp_path: Path) -> None:
    file = str(tmp_path / "signing.pem")
    public = evento("keys", "make", file).stdout.strip()
    with elsewhere(tmp_path, EVENTO_FUNCTION_KEYS=public) as manifests:
        url = manifests.read_text().partition('"url": "')[2].partition('"')[0]
        wait(url)
        signed = evento("function", "check", url, "--key", file)
        assert signed.returncode == 0 and "what is not signed: 401" in signed.stdout, signed
        assert evento("function", "check", url).returncode == 1
        assert evento("function", "check", url, "--key", "nothing.pem").returncode == 1


def wait(url: str) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/evento/health"):  # noqa: S310
            return
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"EVENTO_FUNCTION_ADDRESSES": "public private"}, 'to allow it, set function_addresses to "public private loopback"'),
        ({}, "a signed call has the headers Content-Digest, Signature-Input and Signature"),
    ],
)
def test_who_cannot_call_a_function_is_told_what_to_do(tmp_path: Path, env: dict[str, str], message: str) -> None:
    public = evento("keys", "make", str(tmp_path / "signing.pem")).stdout.strip()
    with elsewhere(tmp_path, EVENTO_FUNCTION_KEYS=public) as manifests, developing(manifests, **env) as platform:
        assert platform(*OPEN, "--wait", "2").stdout == "pending\n"
        for _ in eventually("it is told"):
            health = json.load(urllib.request.urlopen(f"{platform.url}/healthz"))  # noqa: S310
            if any(message in each["message"] for each in health["functions"]):
                break
        assert message in platform.log().replace('\\"', '"')


def test_make_prints_the_public_key_alone_and_show_prints_it_again(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    made = evento("keys", "make", str(file))
    assert made.returncode == 0 and made.stdout.startswith("ed25519:") and len(made.stdout.split()) == 1
    shown = evento("keys", "show", str(file))
    assert shown.stdout == made.stdout and "its id is" in shown.stderr
    again = evento("keys", "make", str(file))
    assert again.returncode == 1 and "never written over" in again.stderr
    assert "PRIVATE" not in made.stdout + made.stderr + shown.stdout + shown.stderr


def test_show_of_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("nothing")
    assert evento("keys", "show", str(tmp_path / "k")).returncode == 1


def test_a_platform_does_not_start_with_a_key_addresses_or_authorities_that_are_wrong(tmp_path: Path) -> None:
    for setting, value, message in (
        ("EVENTO_SIGNING_KEY", "nothing.pem", "the signing key nothing.pem: No such file"),
        ("EVENTO_FUNCTION_ADDRESSES", "everywhere", "function_addresses: must be the words"),
        ("EVENTO_FUNCTION_CA", "nothing.pem", "the certificates nothing.pem: No such file"),
    ):
        done = evento_process("serve", "--port", "0", cwd=tmp_path, **{setting: value})
        assert done.returncode == 1 and message in done.stderr, done
