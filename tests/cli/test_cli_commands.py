"""The command line against a real platform: every verb, its exit code and what it says."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import Platform, evento, evento_process


def sent(platform: Platform, instance: str, *more: str, code: int = 0) -> str:
    done = platform("send", f"shop/Till/{instance}", "Pay", *more)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_command_is_sent_and_its_events_are_shown(platform: Platform) -> None:
    assert sent(platform, "a", "amount=40.10", "note=hello") == 'succeeded, version 1\n  1 Paid {"amount":"40.10","note":"hello"}\n'
    assert platform("get", "shop/Till/a").stdout == "shop/Till/a, version 1\n  balance: 40.10\n"


def test_a_rejection_has_its_own_exit_code(platform: Platform) -> None:
    assert sent(platform, "rejected", "amount=-1", code=3).startswith("rejected, version 1\n  1 PaymentRefused")


def test_the_same_id_is_told_as_sent_before(platform: Platform) -> None:
    sent(platform, "twice", "amount=1", "--id", "one")
    assert "sent before" in sent(platform, "twice", "amount=1", "--id", "one")
    refused = platform("send", "shop/Till/twice", "Pay", "amount=2", "--id", "one")
    assert refused.returncode == 1
    assert "hint: a command id stands for one Command for ever" in refused.stderr


def test_an_expected_version_that_is_not_met_is_refused(platform: Platform) -> None:
    sent(platform, "expected", "amount=1", "--expect", "0")
    refused = platform("send", "shop/Till/expected", "Pay", "amount=1", "--expect", "0")
    assert (refused.returncode, "is at version 1, not 0" in refused.stderr) == (1, True)


def test_output_for_programs_is_json(platform: Platform) -> None:
    outcome = json.loads(sent(platform, "json", "amount=1.50", "--output", "json"))
    assert (outcome["outcome"], outcome["events"][0]["data"]["amount"]) == ("succeeded", "1.50")
    assert json.loads(platform("get", "shop/Till/json", "-o", "json").stdout)["state"] == {"balance": "1.50"}
    assert json.loads(platform("events", "shop/Till/json", "-o", "json").stdout)["next"] is None
    assert "json" in [each["id"] for each in json.loads(platform("get", "shop/Till", "-o", "json").stdout)["instances"]]
    assert json.loads(platform("verify", "-o", "json").stdout) == {"ok": True, "differences": [], "stale": 0}


def test_history_and_earlier_states_can_be_looked_at(platform: Platform) -> None:
    for amount in ("1", "2", "3"):
        sent(platform, "history", f"amount={amount}")
    assert platform("get", "shop/Till/history", "--version", "2").stdout == "shop/Till/history, version 2\n  balance: 3.00\n"
    lines = platform("events", "shop/Till/history", "--after", "1").stdout.splitlines()
    assert [re.sub(r"\S+Z", "TIME", line) for line in lines] == [
        '2  TIME  Paid  {"amount":"2.00","note":""}',
        '3  TIME  Paid  {"amount":"3.00","note":""}',
    ]


def test_a_file_of_commands_is_sent_in_one_stream_and_counted(platform: Platform, tmp_path: Path) -> None:
    lines = [
        {"entity": "shop/Till", "id": f"f{n % 5}", "command": "Pay", "data": {"amount": n}, "command_id": f"n{n}"}
        for n in range(200)
    ]
    lines[7]["data"] = {"amount": "x"}
    lines[9]["data"] = {"amount": -1}
    file = tmp_path / "commands.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first = platform("send", "--file", str(file))
    assert first.returncode == 1
    assert "line 8: $.amount" in first.stderr
    assert first.stderr.endswith("200 Commands: 198 succeeded, 1 rejected, 1 failed; 0 duplicates\n")
    second = platform("send", "--file", "-", "-o", "json", stdin=file.read_text())
    answers = [json.loads(line) for line in second.stdout.splitlines()]
    assert [answer.get("command_id") for answer in answers] == [f"n{n}" for n in range(200)]
    assert second.stderr.endswith("199 duplicates\n")


def test_a_command_that_keeps_failing_is_parked_then_retried_or_discarded(platform: Platform) -> None:
    sent(platform, "parked", "amount=1", "note=poison", "--id", "bad", "--wait", "0")
    listed = ""
    deadline = time.monotonic() + 90
    while "bad" not in listed and time.monotonic() < deadline:
        listed = platform("commands", "list", "--parked").stdout
    assert re.search(r"shop/Till/parked +Pay +bad +parked +2 .*poison", listed)
    assert "cannot think about poison" in platform("commands", "get", "shop/Till/parked", "bad").stdout
    assert platform("commands", "retry", "shop/Till/parked", "bad").returncode == 0
    asked = platform("commands", "discard", "shop/Till/parked", "bad", stdin="n\n")
    assert asked.returncode == 1
    assert platform("commands", "discard", "shop/Till/parked", "bad", "--yes").returncode == 0
    assert platform("commands", "get", "shop/Till/parked", "bad").stdout.startswith("discarded")
    assert platform("commands", "retry", "shop/Till/parked", "bad").returncode == 1


def test_a_deployment_is_shown_before_it_is_made(platform: Platform, tmp_path: Path) -> None:
    same = platform("deploy", str(platform.module), "--dry-run")
    assert same.stdout == "nothing to change: catalog version 1 has all of it\n"
    other = tmp_path / "other.py"
    other.write_text(platform.module.read_text().replace('Namespace("shop")', 'Namespace("kiosk")'))
    plan = platform("deploy", str(other), "--dry-run")
    assert re.search(r"created +Command +kiosk/Pay \(of Till\)", plan.stdout), plan.stdout
    assert platform("deploy", str(other), stdin="n\n").returncode == 1
    assert platform("send", "kiosk/Till/a", "Pay", "amount=1").returncode == 1
    done = platform("deploy", str(other), "--yes")
    assert (done.returncode, done.stderr) == (0, "deployed: catalog version 2\n")
    assert platform("send", "kiosk/Till/a", "Pay", "amount=1").returncode == 0


def test_a_deployment_with_errors_tells_them_all(platform: Platform, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text(
        "apiVersion: evento.dev/v1\nkind: Entity\nmetadata: {name: lower, namespace: shop}\nspec: {apply: nowhere}\n"
    )
    refused = platform("deploy", str(manifest))
    assert refused.returncode == 1
    assert refused.stderr.count("\n  - ") >= 2
    missing = platform("deploy", str(tmp_path / "nothing.yaml"))
    assert (missing.returncode, "no such file" in missing.stderr) == (1, True)


def test_verify_finds_nothing_in_a_sound_journal(platform: Platform) -> None:
    done = platform("verify")
    assert (done.returncode, done.stderr) == (0, "everything agrees\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("get", "shop/Till/nobody"), 1, "does not exist"),
        (("get", "nonsense"), 1, "must be like bank/Checking/alice"),
        (("send", "shop/Till/a", "Pey", "amount=1"), 1, "did you mean Pay"),
        (("send", "shop/Till/a", "Pay", "amount=x"), 1, "hint: values are read as JSON"),
        (("send", "shop/Till/a", "Pay", "amount"), 2, "must be NAME=VALUE"),
        (("send", "shop/Till/a", "Pay", "amount=1", "amount=2"), 2, "given twice"),
        (("send", "shop/Till/a"), 2, "or --file"),
        (("send", "--file", "/nowhere.ndjson"), 1, "cannot read /nowhere.ndjson"),
        (("get", "shop/Till", "--version", "1"), 2, "for one instance"),
        (("commands", "get", "shop/Till/a", "never"), 1, "error:"),
    ],
)
def test_mistakes_are_told_with_what_to_do(platform: Platform, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = platform(*arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_is_told_with_a_hint_and_its_own_exit_code() -> None:
    done = evento("get", "shop/Till/a", "--url", "http://127.0.0.1:1")
    assert done.returncode == 4
    assert "is Evento running? Start it with: evento dev" in done.stderr


def test_dev_tells_what_is_wrong_with_what_it_should_deploy(tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text("raise RuntimeError('half written')\n")
    done = evento_process("dev", str(module), "--data", str(tmp_path / "data"), "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "half written" in done.stderr


def test_a_folder_in_use_is_told(platform: Platform, tmp_path: Path) -> None:
    data = platform.log_file.with_suffix("")
    done = evento_process("serve", "--data", str(data), "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "hint: another Evento uses this data folder or this journal" in done.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = evento_process("serve", cwd=tmp_path, EVENTO_PORT="many")
    assert done.returncode == 1
    assert "EVENTO_PORT" in done.stderr


@pytest.mark.parametrize(
    "verb",
    [
        "dev",
        "serve",
        "deploy",
        "send",
        "get",
        "events",
        "commands get",
        "commands list",
        "commands retry",
        "commands discard",
        "verify",
        "function check",
    ],
)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    done = evento(*verb.split(), "--help")
    assert done.returncode == 0
    assert re.search(rf"Examples?:\s+evento {verb} ?", done.stdout), done.stdout


def test_help_comes_without_importing_what_only_work_needs() -> None:
    heavy = ("aiohttp", "starlette", "uvicorn", "apsw", "rich.table", "pydantic")
    program = f"import sys; from evento.cli.main import app; sys.exit(','.join(m for m in {heavy!r} if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr == "\n"


def test_the_status_tells_how_functions_are_doing(platform: Platform) -> None:
    shown = platform("status")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"{platform.url} takes Commands\n  journal: sqlite:")
    assert re.search(r"shop/shop-functions +ready +-", shown.stdout)
    assert json.loads(platform("status", "-o", "json").stdout)["ready"] is True
