"""The bank in the `eventsourcing` library, in process, on SQLite as the library sets it up (WAL, synchronous FULL).

One run prints one line of JSON, like the load generator. Money in cents.
"""

import argparse
import itertools
import json
import random
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

OPEN_BATCH = 1_000  # accounts opened in one save
LOCKS = 256  # one writer per aggregate, as an application would see to
LIBRARY_CACHE = {"AGGREGATE_CACHE_MAXSIZE": "20000", "AGGREGATE_CACHE_FASTFORWARD": "n", "DEEPCOPY_FROM_AGGREGATE_CACHE": "n"}


class Account(Aggregate):
    """An account: its number and its balance."""

    @event("Opened")
    def __init__(self, number: int) -> None:
        self.number = number
        self.balance = 0

    @staticmethod
    def create_id(number: int) -> UUID:
        """Return the id of the account with this number."""
        return uuid5(NAMESPACE_URL, f"/account/{number}")

    @event("Deposited")
    def deposited(self, amount: int) -> None:
        """Evolve by a deposit."""
        self.balance += amount

    @event("Withdrawn")
    def withdrawn(self, amount: int) -> None:
        """Evolve by a withdrawal."""
        self.balance -= amount

    @event("Rejected")
    def rejected(self, amount: int) -> None:
        """Note a rejected withdrawal: an event too."""

    def handle(self, amount: int) -> None:
        """Decide: a positive amount is a deposit, a negative one a withdrawal."""
        if amount > 0:
            self.deposited(amount)
        elif self.balance >= -amount:
            self.withdrawn(-amount)
        else:
            self.rejected(-amount)


def commands(accounts: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield (account, amount) for ever: 70 % deposits, 30 % withdrawals, up to 100.00."""
    draw = random.Random(seed)
    while True:
        amount = draw.randint(1, 10_000)
        yield draw.randrange(accounts), amount if draw.random() < 0.7 else -amount


class Bank(Application):
    """The application: its repository and its recorder."""

    def execute(self, account: int, amount: int) -> None:
        """Execute one Command and save what came of it: one commit."""
        aggregate: Account = self.repository.get(Account.create_id(account))
        aggregate.handle(amount)
        self.save(aggregate)

    def execute_batch(self, batch: list[tuple[int, int]]) -> None:
        """Execute many Commands and save all in one commit, as a user would write for a bulk import."""
        aggregates: dict[int, Account] = {}
        for account, amount in batch:
            if account not in aggregates:
                aggregates[account] = self.repository.get(Account.create_id(account))
            aggregates[account].handle(amount)
        self.save(*aggregates.values())


def run_threads(bank: Bank, options: argparse.Namespace) -> list[float]:
    """Execute Commands one by one in so many threads; return the seconds each took."""
    stop = time.perf_counter() + options.seconds
    locks = [threading.Lock() for _ in range(LOCKS)]
    taken: list[list[float]] = [[] for _ in range(options.threads)]
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for account, amount in commands(options.accounts, 1_000 * options.seed + worker):
                start = time.perf_counter()
                if start >= stop:
                    return
                with locks[account % LOCKS]:
                    bank.execute(account, amount)
                taken[worker].append(time.perf_counter() - start)
        except Exception as error:  # noqa: BLE001  raised again below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return list(itertools.chain.from_iterable(taken))


def run_batches(bank: Bank, options: argparse.Namespace) -> list[float]:
    """Execute Commands in batches in one thread; return for each Command the seconds its batch took."""
    stop = time.perf_counter() + options.seconds
    source = commands(options.accounts, options.seed)
    taken: list[float] = []
    while (start := time.perf_counter()) < stop:
        bank.execute_batch(list(itertools.islice(source, options.batch)))
        taken += [time.perf_counter() - start] * options.batch
    return taken


def fill(bank: Bank, accounts: int, events_each: int) -> None:
    """Open the accounts, each with so many events in all."""
    for low in range(0, accounts, OPEN_BATCH):
        opened = [Account(number=number) for number in range(low, min(accounts, low + OPEN_BATCH))]
        for account, _ in itertools.product(opened, range(events_each - 1)):
            account.deposited(1)
        bank.save(*opened)


def rebuild(bank: Bank, accounts: int) -> None:
    """Fold every account from its events."""
    for number in range(accounts):
        bank.repository.get(Account.create_id(number))


def measure(bank: Bank, options: argparse.Namespace) -> dict[str, Any]:
    """Run what the options say and return the result."""
    if options.rebuild:
        fill(bank, options.accounts, options.rebuild)
        start = time.perf_counter()
        rebuild(bank, options.accounts)
        elapsed = time.perf_counter() - start
        return {"n": options.accounts * options.rebuild, "rate": round(options.accounts * options.rebuild / elapsed, 1)}
    fill(bank, options.accounts, 1)
    run: Callable[[Bank, argparse.Namespace], list[float]] = run_batches if options.batch else run_threads
    start = time.perf_counter()
    taken = sorted(run(bank, options))
    elapsed = time.perf_counter() - start
    at = {f"p{q}_ms": taken[int(q / 100 * (len(taken) - 1))] * 1e3 for q in (50, 90, 99)}
    return {"n": len(taken), "rate": round(len(taken) / elapsed, 1), **at}


def count_events(path: str) -> int:
    """Return how many events the file holds, read from outside the library."""
    with sqlite3.connect(path) as connection:
        return int(connection.execute("select count(*) from stored_events").fetchone()[0])


def main() -> None:
    """Parse the options, make one run, print its result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True, help="SQLite file to make")
    parser.add_argument("--name", default="eventsourcing")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", action="store_true", help="the library's aggregate cache, without fast-forward and copies")
    parser.add_argument("--batch", type=int, default=0, help="Commands in one save, in one thread; 0: each in its own")
    parser.add_argument("--rebuild", type=int, default=0, help="fold all accounts, each of so many events, instead")
    options = parser.parse_args()
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": options.file, "SQLITE_LOCK_TIMEOUT": "60"}
    bank = Bank(env=environment | (LIBRARY_CACHE if options.cache else {}))
    result = measure(bank, options)
    bank.close()
    expected = options.accounts + result["n"] if not options.rebuild else result["n"]
    result |= {"errors": 0, "wrong": abs(count_events(options.file) - expected), "accounts": options.accounts}
    print(json.dumps({"name": options.name, **result, "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))


if __name__ == "__main__":
    main()
