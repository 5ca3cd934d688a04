"""What every journal must keep: one promise per test. A backend's tests subclass JournalContract and give it `open_journal`.

It speaks only through the port. It assumes neither one partition nor positions without gaps, nor that owning is instant.
"""
# ruff: noqa: S101  these are tests

import asyncio

import pytest

from evento.errors import JournalBusy, JournalError
from evento.journal.base import CommandRef
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.limits import STATE_BYTES_MAX
from evento.model.transition import Appended, Conflict, Run, Transition
from evento.testing.journal_reading import ReadingContract
from evento.testing.journal_samples import (
    PARTITION,
    TIME_US,
    WAIT_S,
    OpenJournal,
    appended,
    command,
    keys,
    run,
    state,
    turn,
    whole_feed,
)

__all__ = ["JournalContract", "OpenJournal"]


class JournalContract(ReadingContract):
    """The promises. `open_journal` opens the same store each time; what it yields is closed when the context ends."""

    # ------------------------------------------------------------ an empty journal
    async def test_a_new_journal_is_empty_and_sound(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            assert await partition.read_states([key]) == {}
            assert await partition.read_turns([CommandRef(key=key, command_id="c1")]) == {}
            assert list(await partition.read_pending()) == []
            assert list(await journal.history.read_stream(key)) == []
            assert await journal.history.read_turn(CommandRef(key=key, command_id="c1")) is None
            assert await whole_feed(journal) == []
            assert list(await journal.history.read_instances("bank", "Account")) == []
            assert list(await journal.read_catalogs()) == []
            assert list(await journal.check()) == []

    async def test_a_partition_has_its_number_and_every_instance_a_partition(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            assert partition.number == PARTITION
            placed = {journal.partition_of(EntityKey("bank", "Account", str(number))) for number in range(200)}
            assert placed <= set(range(journal.partitions))

    async def test_a_partition_that_does_not_exist_cannot_be_owned(self, open_journal: OpenJournal) -> None:
        async with open_journal() as journal:
            with pytest.raises(JournalError):
                async with journal.own(journal.partitions):
                    pass

    # ------------------------------------------------------------ append
    async def test_what_was_appended_is_read_back_equal(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            context = Context(correlation_id="k", causation_id="c", actor="é", traceparent="00-1", encryption_key_id="e")
            full = Command("c1", key, "Withdraw", 7, b"\x00\xff" * 50, TIME_US, expected=0, due_us=TIME_US + 5, context=context)
            events = (Event("Withdrawn", 8, b"\x00"), Event("LimitReached", 9, b"", rejection=True))
            failure = Failure(code="handler-failed", message="no\nreason", function="bank-functions")
            first = Turn(full, OutcomeKind.REJECTED, 0, events, TIME_US, "sha256:ab", 3, failure)
            last = turn(key, "c2", 2, 0)
            await appended(partition, Run(key=key, before=0, turns=(first, last), state=state(2)))
            assert await partition.read_states([key]) == {key: state(2)}
            refs = [CommandRef(key=key, command_id="c1"), CommandRef(key=key, command_id="c2")]
            assert await partition.read_turns(refs) == {refs[0]: first, refs[1]: last}
            assert [entry.turn for entry in await whole_feed(journal)] == [first, last]

    async def test_what_was_appended_is_there_after_reopening(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            first, second = keys(journal, 2)
            await appended(partition, run(first, 0, "c1", "c2"), run(second, 0, "c3"))
            await appended(partition, run(first, 2, "c4"))
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([first, second]) == {first: state(3), second: state(1)}
            assert [made.command.id for made in await journal.history.read_stream(first)] == ["c1", "c2", "c4"]
            assert list(await journal.check()) == []

    async def test_versions_go_on_after_reopening(self, open_journal: OpenJournal) -> None:
        for version in range(3):
            async with self.owned(open_journal) as (journal, partition):
                [key] = keys(journal, 1)
                await appended(partition, run(key, version, f"c{version}"))
        async with self.owned(open_journal) as (journal, partition):
            assert [made.version for made in await journal.history.read_stream(key)] == [1, 2, 3]

    async def test_positions_grow(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 5)
            positions = [await appended(partition, run(key, 0, "c")) for key in made]
        async with self.owned(open_journal) as (journal, partition):
            positions.append(await appended(partition, run(made[0], 1, "d")))
            assert positions == sorted(set(positions))
            assert positions[0] > 0  # 0 is before all of them

    async def test_appends_become_durable_in_the_order_of_the_calls(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(partition.append(Transition(runs=(run(key, n, f"c{n}"),)))) for n in range(200)]
            results = [task.result() for task in tasks]
            positions = [result.position for result in results if isinstance(result, Appended)]
            assert len(positions) == len(tasks)
            assert positions == sorted(positions)
            assert [made.command.id for made in await journal.history.read_stream(key)] == [f"c{n}" for n in range(200)]

    async def test_a_wrong_before_is_a_conflict_that_tells_the_version(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            assert await partition.append(Transition(runs=(run(key, 1, "c"),))) == Conflict(key=key, before=1, actual=0)
            await appended(partition, run(key, 0, "c1", "c2"))
            assert await partition.append(Transition(runs=(run(key, 1, "c"),))) == Conflict(key=key, before=1, actual=2)
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.append(Transition(runs=(run(key, 0, "c"),))) == Conflict(key=key, before=0, actual=2)

    async def test_a_conflict_changes_nothing_of_its_transition(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            good, bad = keys(journal, 2)
            await partition.append(Transition(pending=(Pending(number=1, command=command(good, "p1")),)))
            transition = Transition(
                runs=(run(good, 0, "c1"), run(bad, 5, "c2")),
                pending=(Pending(number=2, command=command(good, "p2")),),
                resolved=(1,),
            )
            assert isinstance(await partition.append(transition), Conflict)
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([good, bad]) == {}
            assert await partition.read_turns([CommandRef(key=good, command_id="c1")]) == {}
            assert [pending.number for pending in await partition.read_pending()] == [1]
            assert await whole_feed(journal) == []

    async def test_a_conflict_does_not_touch_its_neighbours(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 30)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(partition.append(Transition(runs=(run(key, 7 if number % 3 == 1 else 0, "c"),))))
                    for number, key in enumerate(made)
                ]
            for number, task in enumerate(tasks):
                assert isinstance(task.result(), Conflict if number % 3 == 1 else Appended)
            assert set(await partition.read_states(made)) == {key for number, key in enumerate(made) if number % 3 != 1}

    async def test_of_two_appends_for_one_version_one_wins(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            async with asyncio.TaskGroup() as group:
                first = group.create_task(partition.append(Transition(runs=(run(key, 0, "a"),))))
                second = group.create_task(partition.append(Transition(runs=(run(key, 0, "b"),))))
            assert isinstance(first.result(), Appended)
            assert second.result() == Conflict(key=key, before=0, actual=1)
            assert [made.command.id for made in await journal.history.read_stream(key)] == ["a"]

    async def test_several_runs_of_one_instance_in_one_transition_follow_each_other(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            await appended(partition, run(key, 0, "a"), run(key, 1, "b", "c"))
            assert isinstance(await partition.append(Transition(runs=(run(key, 3, "d"), run(key, 3, "e")))), Conflict)
            assert await partition.read_states([key]) == {key: state(3)}
            assert [made.version for made in await journal.history.read_stream(key)] == [1, 2, 3]

    async def test_an_append_that_is_no_longer_awaited_is_whole_all_the_same(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            task = asyncio.ensure_future(partition.append(Transition(runs=(run(key, 0, "a", "b"),))))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with self.owned(open_journal) as (journal, partition):
            assert len(await journal.history.read_stream(key)) in (0, 2)
            assert list(await journal.check()) == []

    async def test_appends_that_are_open_when_the_context_ends_are_finished(self, open_journal: OpenJournal) -> None:
        async with asyncio.timeout(WAIT_S), open_journal() as journal:
            made = keys(journal, 50)
            async with journal.own(PARTITION) as partition:
                tasks = [asyncio.ensure_future(partition.append(Transition(runs=(run(key, 0, "c"),)))) for key in made]
                await asyncio.sleep(0)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        done = [key for key, result in zip(made, results, strict=True) if isinstance(result, Appended)]
        assert all(isinstance(result, Appended | JournalError) for result in results)
        async with self.owned(open_journal) as (journal, partition):
            assert set(done) <= set(await partition.read_states(made))

    # ------------------------------------------------------------ turns without events, several events
    async def test_a_turn_without_events_is_kept_and_leaves_the_version(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            old, new = keys(journal, 2)
            await appended(partition, run(old, 0, "c1"))
            for key, before in ((old, 1), (new, 0), (old, 1)):
                number = f"x{len(await whole_feed(journal))}"
                await appended(partition, Run(key=key, before=before, turns=(turn(key, number, before, 0),), state=None))
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([old, new]) == {old: state(1)}
            refs = [
                CommandRef(key=old, command_id="x1"),
                CommandRef(key=new, command_id="x2"),
                CommandRef(key=old, command_id="x3"),
            ]
            assert set(await partition.read_turns(refs)) == set(refs)
            assert [made.command.id for made in await journal.history.read_stream(old)] == ["c1"]
            assert [made.turn.command.id for made in await whole_feed(journal)] == ["c1", "x1", "x2", "x3"]
            assert [entry.key for entry in await journal.history.read_instances("bank", "Account")] == [old]
            await appended(partition, run(new, 0, "c2"))
            await appended(partition, run(old, 1, "c3"))
            assert list(await journal.check()) == []

    async def test_several_events_of_a_turn_are_counted_in_the_version(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            await appended(partition, Run(key=key, before=0, turns=(turn(key, "a", 0, 3), turn(key, "b", 3, 2)), state=state(5)))
            assert isinstance(await partition.append(Transition(runs=(run(key, 2, "x"),))), Conflict)
            await appended(partition, run(key, 5, "c"))
            assert [(made.before, made.version) for made in await journal.history.read_stream(key)] == [(0, 3), (3, 5), (5, 6)]

    async def test_ten_thousand_turns_of_one_instance_have_versions_without_gaps(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            for before in range(0, 10_000, 500):
                await appended(partition, run(key, before, *(f"c{before + n}" for n in range(500))))
            versions: list[int] = []
            while page := await journal.history.read_stream(key, after=versions[-1] if versions else 0, limit=777):
                versions += [made.version for made in page]
            assert versions == list(range(1, 10_001))

    # ------------------------------------------------------------ states
    async def test_only_instances_with_events_have_a_state(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            there, missing = keys(journal, 2)
            await appended(partition, run(there, 0, "c"))
            assert set(await partition.read_states([there, missing])) == {there}

    async def test_a_run_without_a_state_tells_only_the_version(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            fresh, old = keys(journal, 2)
            await appended(partition, run(old, 0, "c1"))
            for key, before in ((fresh, 0), (old, 1)):
                await appended(partition, Run(key=key, before=before, turns=(turn(key, "c2", before),), state=None))
            expected = {key: State(version, None, 0, "") for key, version in ((fresh, 1), (old, 2))}
            assert await partition.read_states([fresh, old]) == expected
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([fresh, old]) == expected
            await appended(partition, run(fresh, 1, "c3"))
            assert await partition.read_states([fresh]) == {fresh: state(2)}

    async def test_a_rebuilt_state_replaces_that_of_the_same_version(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            first, second = keys(journal, 2)
            await appended(partition, run(first, 0, "c1"), run(second, 0, "c2"))
            rebuilt = state(1, b"rebuilt", revision="r2")
            assert isinstance(await partition.append(Transition(states=((first, rebuilt),))), Appended)
            assert await partition.read_states([first, second]) == {first: rebuilt, second: state(1)}
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([first, second]) == {first: rebuilt, second: state(1)}
            await appended(partition, run(first, 1, "c3"))
            assert await partition.read_states([first]) == {first: state(2)}
            assert list(await journal.check()) == []

    async def test_a_state_that_became_old_news_is_replaced_as_well(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            rebuilt, unknown, big = made = keys(journal, 3)
            await appended(partition, *(run(key, 0, "c1") for key in made))
        states = {rebuilt: state(1, b"again", "r2"), unknown: State(2, None, 0, ""), big: State(2, bytes(50_000), 5, "r1")}
        async with self.owned(open_journal) as (journal, partition):
            runs = (
                Run(key=unknown, before=1, turns=(turn(unknown, "c2", 1),), state=None),
                Run(key=big, before=1, turns=(turn(big, "c2", 1),), state=states[big]),
            )
            await partition.append(Transition(runs=runs, states=((rebuilt, states[rebuilt]),)))
            assert await partition.read_states(made) == states
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states(made) == states
            assert list(await journal.check()) == []

    async def test_a_state_is_the_newest_one_whatever_happened_since_it_was_read(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 40)
            await appended(partition, *(run(key, 0, "c0") for key in made))
        async with self.owned(open_journal) as (journal, partition):
            for version in range(1, 4):
                for key in made:
                    assert await partition.read_states([key]) == {key: state(version)}
                    await appended(partition, run(key, version, f"c{version}"))
            assert await partition.read_states(made) == dict.fromkeys(made, state(4))

    async def test_a_rebuilt_state_of_another_version_changes_nothing(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            known, unknown = keys(journal, 2)
            await appended(partition, run(known, 0, "c1", "c2"))
            stale = ((known, state(1, b"stale")), (known, state(3, b"ahead")), (unknown, state(1, b"nobody")))
            await partition.append(Transition(states=stale))
            assert await partition.read_states([known, unknown]) == {known: state(2)}

    async def test_a_big_state_is_kept_whole(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            big, rebuilt = keys(journal, 2)
            huge = State(1, bytes(range(256)) * (STATE_BYTES_MAX // 256), 5, "r1")
            await appended(partition, Run(key=big, before=0, turns=(turn(big, "c1", 0),), state=huge), run(rebuilt, 0, "c1"))
            again = State(1, huge.payload, 5, "r2")
            await partition.append(Transition(states=((rebuilt, again),)))
            assert await partition.read_states([big, rebuilt]) == {big: huge, rebuilt: again}
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([big, rebuilt]) == {big: huge, rebuilt: again}
            assert [entry.state for entry in await journal.history.read_instances("bank", "Account")] == [huge, again]
            await appended(partition, run(big, 1, "c2"))
            assert await partition.read_states([big]) == {big: state(2)}
            assert list(await journal.check()) == []

    async def test_an_empty_state_is_not_no_state(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            empty = State(1, b"", 5, "r1")
            await appended(partition, Run(key=key, before=0, turns=(turn(key, "c1", 0),), state=empty))
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states([key]) == {key: empty}

    async def test_many_states_come_at_once(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 2_500)
            await appended(partition, *(run(key, 0, "c") for key in made))
        async with self.owned(open_journal) as (journal, partition):
            assert await partition.read_states(made) == dict.fromkeys(made, state(1))

    # ------------------------------------------------------------ pending
    async def test_pending_entries_are_added_replaced_and_resolved(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            entries = [Pending(number=number, command=command(key, f"p{number}")) for number in (1, 2, 3)]
            await partition.append(Transition(pending=tuple(entries)))
            assert list(await partition.read_pending()) == entries
            failed = Pending(2, entries[1].command, 4, TIME_US, True, Failure(code="timeout", message="5 s", function=None))
            await partition.append(Transition(pending=(failed,), resolved=(1,)))
        async with self.owned(open_journal) as (journal, partition):
            assert list(await partition.read_pending()) == [failed, entries[2]]
            await partition.append(Transition(resolved=(2, 3, 99)))
            assert list(await partition.read_pending()) == []

    async def test_pending_entries_come_in_the_order_of_their_numbers(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            numbers = [9, 100, 10, 2**40, 1, 5_000]
            await partition.append(Transition(pending=tuple(Pending(n, command(key, f"p{n}")) for n in numbers)))
        async with self.owned(open_journal) as (journal, partition):
            assert [pending.number for pending in await partition.read_pending()] == sorted(numbers)

    async def test_a_turn_and_the_end_of_its_pending_entry_are_one(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            await partition.append(Transition(pending=(Pending(number=7, command=command(key, "c1")),)))
            await partition.append(Transition(runs=(run(key, 0, "c1"),), resolved=(7,)))
        async with self.owned(open_journal) as (journal, partition):
            assert list(await partition.read_pending()) == []
            assert await partition.read_states([key]) == {key: state(1)}

    async def test_concurrent_changes_of_one_pending_entry_keep_their_order(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            put = [Transition(pending=(Pending(1, command(key, "p"), attempts=attempt),)) for attempt in range(50)]
            async with asyncio.TaskGroup() as group:
                for transition in (*put, Transition(resolved=(1,)), put[7]):
                    group.create_task(partition.append(transition))
            assert [pending.attempts for pending in await partition.read_pending()] == [7]

    # ------------------------------------------------------------ catalog
    async def test_catalog_versions_are_kept_in_order_for_ever(self, open_journal: OpenJournal) -> None:
        two = b"\x00two" * 500_000  # more than one message of Kafka's holds
        async with open_journal() as journal:
            assert await journal.append_catalog(1, b"one")
            assert await journal.append_catalog(2, two)
        async with open_journal() as journal:
            assert list(await journal.read_catalogs()) == [(1, b"one"), (2, two)]
            assert list(await journal.read_catalogs(after=1)) == [(2, two)]
            assert list(await journal.read_catalogs(after=2)) == []

    async def test_only_the_next_catalog_version_is_taken(self, open_journal: OpenJournal) -> None:
        async with open_journal() as journal:
            assert not await journal.append_catalog(2, b"too early")
            assert await journal.append_catalog(1, b"one")
            assert not await journal.append_catalog(1, b"again")
            assert list(await journal.read_catalogs()) == [(1, b"one")]

    async def test_of_two_appends_of_one_catalog_version_one_wins(self, open_journal: OpenJournal) -> None:
        async with open_journal() as journal:
            results = await asyncio.gather(*(journal.append_catalog(1, b"%d" % number) for number in range(5)))
            assert sorted(results) == [False, False, False, False, True]
            assert list(await journal.read_catalogs()) == [(1, b"%d" % results.index(True))]

    # ------------------------------------------------------------ ownership
    async def test_a_second_owner_is_impossible(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, first):
            [key] = keys(journal, 1)
            try:
                async with journal.own(PARTITION):
                    with pytest.raises(JournalError):
                        await first.append(Transition(runs=(run(key, 0, "c"),)))
            except JournalBusy:
                await appended(first, run(key, 0, "c"))

    async def test_ownership_ends_with_its_context(self, open_journal: OpenJournal) -> None:
        async with asyncio.timeout(WAIT_S), open_journal() as journal:
            [key] = keys(journal, 1)
            with pytest.raises(ZeroDivisionError):
                async with journal.own(PARTITION) as first:
                    raise ZeroDivisionError
            async with journal.own(PARTITION) as second:
                with pytest.raises(JournalError):
                    await first.append(Transition(runs=(run(key, 0, "lost"),)))
                await appended(second, run(key, 0, "c"))
                assert [made.command.id for made in await journal.history.read_stream(key)] == ["c"]

    async def test_a_new_owner_sees_what_the_old_one_did(self, open_journal: OpenJournal) -> None:
        async with asyncio.timeout(WAIT_S), open_journal() as journal:
            [key] = keys(journal, 1)
            for before in range(3):
                async with journal.own(PARTITION) as partition:
                    assert len(await partition.read_pending()) == before
                    run_and_entry = Transition(
                        runs=(run(key, before, f"c{before}"),), pending=(Pending(before, command(key, f"p{before}")),)
                    )
                    assert isinstance(await partition.append(run_and_entry), Appended)
