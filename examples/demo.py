"""What `make demo` shows: a bank on one machine, through the command line and the HTTP API that everybody has.

Start a platform, send it Commands, see the Events and states they produce, send them again, kill it with -9 in the middle of 10,000
Commands, start it again, and see that nothing is lost and nothing doubled. Ends with status 0 only if all of that is so.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "demo"
BANK = ROOT / "examples" / "bank"
EVENTO = str(Path(sys.executable).with_name("evento"))
READY_S = 180.0
STOP_S = 60.0
ACCOUNTS = 500
COMMANDS = 10_000
KILL_AFTER = 2_000  # answers

console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
Answer = dict[str, Any]


class Failed(Exception):
    """Something is not as it must be."""


class Platform:
    """A platform in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = FOLDER / "platform.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start it on the demo's data folder, and return when it takes Commands."""
        show(f"evento {' '.join(arguments)} --data build/demo/data --port {self.port}   [dim]# in the background[/]")
        command = [EVENTO, *arguments, "--data", "build/demo/data", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        give_up = time.monotonic() + READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise Failed(f"the platform does not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power switch would."""
        if self._process is not None:
            show(f"kill -9 {self._process.pid}   [dim]# the platform[/]")
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


# ------------------------------------------------------------------ how it speaks
def chapter(title: str) -> None:
    """Begin a part of the demo."""
    console.print()
    console.print(Rule(f"[bold]{title}", align="left"))


def show(command: str) -> None:
    """Show what could as well be typed."""
    console.print(f"[bold green]$[/] [bold]{command}[/]", soft_wrap=True)


def note(text: str) -> None:
    """Say what there is to see."""
    console.print(f"[cyan]{text}[/]", soft_wrap=True)


def require(fact: bool, otherwise: str) -> None:
    """End the demo with an error unless something is so."""
    if not fact:
        raise Failed(otherwise)


def evento(*arguments: str, expect: int = 0) -> str:
    """Run the command line as a person would, and show what it says. `expect` is its exit status."""
    show("evento " + escape(" ".join(arguments)))
    ended = subprocess.run([EVENTO, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    console.print(escape((ended.stdout + ended.stderr).rstrip()), soft_wrap=True)
    require(ended.returncode == expect, f"it ended with {ended.returncode}, not {expect}")
    return ended.stdout + ended.stderr


# ------------------------------------------------------------------ many Commands
def many_commands() -> Sequence[Answer]:
    """Return 10,000 Commands for 500 accounts, each with an id: open, then pay in and out."""
    lines = [_line(account, "OpenSavings", {"owner": f"Owner {account}"}, "open") for account in range(ACCOUNTS)]
    for number in range(COMMANDS - ACCOUNTS):
        deposit = number % 3 != 2
        name, amount = ("ReceiveDeposit", 10 + number % 7) if deposit else ("WithdrawCash", 5 + number % 11)
        lines.append(_line(number % ACCOUNTS, name, {"amount": f"{amount}.00"}, str(number)))
    return lines


def _line(account: int, name: str, data: Answer, number: str) -> Answer:
    place = f"account-{account:03}"
    return {"entity": "bank/Savings", "id": place, "command": name, "data": data, "command_id": f"{place}-{number}"}


def answers(file: Path) -> Iterator[Answer]:
    """Send a file of Commands in one stream, and give the outcomes as they come."""
    command = [EVENTO, "send", "--file", str(file), "--output", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sending:
        for line in sending.stdout or ():
            answer: Answer = json.loads(line)
            if answer["outcome"] != "failed":
                yield answer


def table(title: str, counts: Sequence[tuple[str, int]]) -> None:
    """Show a few numbers."""
    grid = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    for text, number in counts:
        grid.add_row(f"{number:,}", text)
    console.print(grid)


# ------------------------------------------------------------------ the demo
def one_by_one(platform: Platform) -> None:
    chapter("1  Commands in, Events out")
    platform.start("dev", "examples/bank/bank.py")
    evento("send", "bank/Checking/dora", "OpenChecking", "owner=Dora", "overdraft_limit=50.00")
    evento("send", "bank/Checking/dora", "ReceiveDeposit", "amount=100.00", "--id", "payday")
    evento("send", "bank/Checking/dora", "WithdrawCash", "amount=500.00", expect=3)
    note("A refusal is an Event too: it is in the history, and changes nothing.")
    evento("events", "bank/Checking/dora")
    evento("get", "bank/Checking/dora")
    note("Sent again with the same id: the first outcome comes back, and nothing happens a second time.")
    again = evento("send", "bank/Checking/dora", "ReceiveDeposit", "amount=100.00", "--id", "payday")
    require("sent before" in again, "not a duplicate")


def the_examples_commands() -> None:
    chapter("2  A file of Commands in one stream, twice")
    file = (BANK / "commands.ndjson").relative_to(ROOT)
    first = evento("send", "--file", str(file))
    require("; 0 duplicates" in first and ", 0 failed" in first, "not all of them were executed")
    again = evento("send", "--file", str(file))
    require(f"; {first.split()[0]} duplicates" in again, "not all of them came back as duplicates")
    evento("get", "bank/Checking")
    evento("get", "bank/Savings")


def killed_in_the_middle(platform: Platform) -> None:
    chapter(f"3  kill -9 in the middle of {COMMANDS:,} Commands")
    commands = many_commands()
    file = FOLDER / "commands.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in commands))
    show(f"evento send --file build/demo/{file.name} --output json   [dim]# and meanwhile:[/]")
    told: dict[str, Answer] = {}
    stream = answers(file)
    for answer in stream:
        told[answer["command_id"]] = answer
        if len(told) == KILL_AFTER:
            platform.kill()
    require(len(told) < COMMANDS, "the platform was killed too late")
    note(f"{len(told):,} outcomes were told before it died. It is started again on the same folder, and gets the same file again:")
    platform.start("serve")
    show(f"evento send --file build/demo/{file.name} --output json")
    again = {answer["command_id"]: answer for answer in answers(file)}
    duplicates = [answer for answer in again.values() if answer["duplicate"]]
    lost = [name for name, answer in told.items() if not _same(answer, again.get(name))]
    counts = [("outcomes", len(again)), ("of them duplicates: they were durable when it died", len(duplicates))]
    table("", [*counts, ("executed now", len(again) - len(duplicates)), ("told before, and lost or different now", len(lost))])
    require(len(again) == COMMANDS and not lost, "something is lost")
    _balances(again, platform)


def _same(told: Answer, again: Answer | None) -> bool:
    return again is not None and again["duplicate"] and all(told[name] == again[name] for name in ("outcome", "version", "events"))


def _balances(outcomes: Mapping[str, Answer], platform: Platform) -> None:
    """Add up what the outcomes say, and compare it with what the platform says."""
    expected = {f"account-{number:03}": Decimal(0) for number in range(ACCOUNTS)}
    for name, outcome in outcomes.items():
        for event in outcome["events"]:
            sign = {"SavingsDeposited": 1, "SavingsWithdrawn": -1}.get(event["type"], 0)
            expected[name.rpartition("-")[0]] += sign * Decimal(event["data"].get("amount", "0"))
    with urllib.request.urlopen(f"{platform.url}/v1/bank/Savings?limit=1000", timeout=30) as response:  # noqa: S310
        found = {each["id"]: Decimal(each["state"]["balance"]) for each in json.load(response)["instances"]}
    found = {name: balance for name, balance in found.items() if name in expected}
    require(found == expected, "the balances are wrong")
    note(f"The balances of {ACCOUNTS} accounts are what their outcomes add up to: {sum(found.values()):,} in all.")


def verified() -> None:
    chapter("4  Everything folded again from the Events, and compared")
    evento("verify")


@contextmanager
def fresh_folder() -> Iterator[Platform]:
    """Give a platform in an empty folder, and leave neither behind."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    platform = Platform()
    os.environ["EVENTO_URL"] = platform.url
    try:
        yield platform
    finally:
        platform.stop()
    shutil.rmtree(FOLDER)


def main() -> int:
    """Show everything; return 0 if it is as it must be."""
    started = time.monotonic()
    try:
        with fresh_folder() as platform:
            one_by_one(platform)
            the_examples_commands()
            killed_in_the_middle(platform)
            verified()
    except Failed as failed:
        console.print(f"[bold red]The demo failed:[/] {escape(str(failed))}", soft_wrap=True)
        console.print(f"What the platform said is in {(FOLDER / 'platform.log').relative_to(ROOT)}.")
        return 1
    chapter(f"That was all, in {time.monotonic() - started:.0f} seconds")
    console.print("Play yourself:  [bold].venv/bin/evento dev examples/bank/bank.py[/]     Then read:  [bold]docs/tutorial/[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
