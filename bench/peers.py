"""The contestants: how each is started with empty data, and how the load generator speaks to it."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install import EVENTO, HYPERCORN, LOADGEN, NODE, PEER_PYTHON, PEERS, RESTATE_SERVER, ROOT
from processes import free_port, running, wait_until_ready

BANK = "examples/bank/manifests.yaml"
ACCOUNTS = 10_000
DEPLOYMENT_WAIT_S = 1.0  # Restate's discovery is answered before its ingress knows the service
VERIFIED = 200  # accounts whose versions are compared with the answers counted


@dataclass(frozen=True)
class Service:
    """A service that is up: its processes, and the load generator's arguments for it, without what differs between runs."""

    pids: list[int]
    http: list[str]
    stream: list[str]


@contextmanager
def evento(data: Path, manifests: str | Path = BANK, env: dict[str, str] | None = None) -> Iterator[Service]:
    """Run the platform with the bank example deployed and the accounts opened, as a user would start it."""
    port, log = free_port(), data / "evento.log"
    base = f"http://127.0.0.1:{port}"
    with running(
        [EVENTO, "serve", "--data", data / "evento", "--port", str(port)], log, cwd=ROOT, env=os.environ | (env or {})
    ) as pid:
        wait_until_ready(f"{base}/livez", log)
        deploy = [EVENTO, "deploy", manifests, "--yes", "--url", base]
        subprocess.run(deploy, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        wait_until_ready(f"{base}/readyz", log)
        check = ["-state-url", f"{base}/v1/bank/Checking/{{id}}", "-verify", str(VERIFIED)]
        load(["setup", "-n", str(ACCOUNTS), "-url", f"{base}/v1/commands", *check])
        yield Service(
            pids=[pid],
            http=["-url", f"{base}/v1/bank/Checking/{{id}}/{{command}}", *check],
            stream=["-url", f"{base}/v1/commands", *check],
        )


@contextmanager
def restate(data: Path, sdk: str) -> Iterator[Service]:
    """Run Restate's server and the bank as a virtual object, in Python (hypercorn) or TypeScript (node)."""
    ingress, admin, fabric, service = (free_port() for _ in range(4))
    environment = os.environ | {
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{fabric}",
        "RESTATE_LISTEN_MODE": "tcp",
        "DO_NOT_TRACK": "1",
    }
    server: list[str | Path] = [RESTATE_SERVER, "--no-logo", "--base-dir", data / "restate", "--node-name", "n1"]
    with running(server, data / "server.log", env=environment, cwd=data) as first, _function(sdk, service, data) as second:
        wait_until_ready(f"http://127.0.0.1:{admin}/health", data / "server.log")
        time.sleep(DEPLOYMENT_WAIT_S)
        _post(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})
        time.sleep(DEPLOYMENT_WAIT_S)
        url = f"http://127.0.0.1:{ingress}/Account/{{id}}/{{command}}"
        yield Service(pids=[first, second], http=["-url", url, "-body", "{cents}", "-answers", "restate"], stream=[])


@contextmanager
def _function(sdk: str, port: int, data: Path) -> Iterator[int]:
    log = data / "function.log"
    if sdk == "python":
        with running([HYPERCORN, "account:app", "-b", f"127.0.0.1:{port}"], log, cwd=PEERS / "restate") as pid:
            yield pid
        return
    (data / "account.mjs").write_bytes((PEERS / "restate/account.mjs").read_bytes())
    (data / "node_modules").symlink_to(NODE / "node_modules")  # where node looks for the SDK
    environment = os.environ | {"PORT": str(port), "NODE_ENV": "production", "RESTATE_LOGGING": "ERROR"}
    with running(["node", "account.mjs"], log, env=environment, cwd=data) as pid:
        yield pid


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20):
        pass


def load(arguments: list[str]) -> dict[str, Any]:
    """Run the load generator; return its line."""
    done = subprocess.run([LOADGEN, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):  # 3: there were errors, and the line counts them
        raise subprocess.CalledProcessError(done.returncode, done.args)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def eventsourcing(data: Path, *arguments: str) -> dict[str, Any]:
    """Make one run of the library in process, in a fresh file."""
    program = PEERS / "eventsourcing/bank.py"
    done = subprocess.run(
        [PEER_PYTHON, program, "--file", data / "eventsourcing.db", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
