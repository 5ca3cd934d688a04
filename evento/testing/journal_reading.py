"""The reading half of the journal's contract: turns of Commands, streams, feeds, listings. One promise per test."""
# ruff: noqa: S101  these are tests

import asyncio
from contextlib import AsyncExitStack

from evento.journal.base import CommandRef, TurnEntry
from evento.model.keys import EntityKey
from evento.model.transition import Run, Transition
from evento.testing.journal_samples import (
    HOSTILE_IDS,
    PARTITION,
    WAIT_S,
    OpenedStore,
    OpenJournal,
    appended,
    belonging,
    keys,
    run,
    state,
    turn,
    whole_feed,
)


class ReadingContract(OpenedStore):
    """What readers may rely on."""

    # ------------------------------------------------------------ turns of Commands
    async def test_a_finished_command_is_found_for_ever(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            await appended(partition, run(key, 0, "first"))
        async with self.owned(open_journal) as (journal, partition):
            await appended(partition, run(key, 1, "second"))
            refs = [CommandRef(key=key, command_id=name) for name in ("first", "second", "third")]
            found = await partition.read_turns(refs)
            assert {ref.command_id: made.version for ref, made in found.items()} == {"first": 1, "second": 2}
            assert await journal.history.read_turn(refs[0]) == found[refs[0]]
            assert await journal.history.read_turn(refs[2]) is None

    async def test_a_command_id_belongs_to_one_instance(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            first, second, third = keys(journal, 3)
            await appended(partition, run(first, 0, "same"), run(second, 0, "other", "same"))
        async with self.owned(open_journal) as (journal, partition):
            refs = [CommandRef(key=key, command_id="same") for key in (first, second, third)]
            found = await partition.read_turns(refs)
            assert {ref.key: (made.command.key, made.version) for ref, made in found.items()} == {
                first: (first, 1),
                second: (second, 2),
            }

    async def test_many_commands_are_looked_up_at_once(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 1_500)
            await appended(partition, *(run(key, 0, f"c-{key.id}") for key in made))
        async with self.owned(open_journal) as (journal, partition):
            asked = [CommandRef(key=key, command_id=f"{kind}-{key.id}") for key in made for kind in ("c", "new")]
            found = await partition.read_turns(asked)
            assert set(found) == {ref for ref in asked if ref.command_id.startswith("c-")}
            assert all(ref.command_id == made_turn.command.id for ref, made_turn in found.items())

    # ------------------------------------------------------------ history
    async def test_a_stream_is_read_from_a_version_on(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            await appended(partition, Run(key=key, before=0, turns=(turn(key, "a", 0, 3), turn(key, "b", 3)), state=state(4)))
            await appended(partition, run(key, 4, "c", "d"))

            async def ids(after: int) -> str:
                return "".join(made.command.id for made in await journal.history.read_stream(key, after=after))

            assert [await ids(after) for after in range(8)] == ["abcd", "abcd", "abcd", "bcd", "cd", "d", "", ""]

    async def test_a_stream_gives_as_many_turns_as_the_events_asked_for(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            turns = (turn(key, "a", 0, 3), turn(key, "b", 3, 2), turn(key, "c", 5, 1))
            await appended(partition, Run(key=key, before=0, turns=turns, state=state(6)))

            async def ids(limit: int) -> str:
                return "".join(made.command.id for made in await journal.history.read_stream(key, limit=limit))

            assert [await ids(limit) for limit in range(1, 8)] == ["a", "a", "a", "ab", "ab", "abc", "abc"]

    async def test_streams_of_different_instances_do_not_mix(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = [*keys(journal, 20), *keys(journal, 20, entity="Savings")]
            for before in range(5):
                await appended(partition, *(run(key, before, f"{key.entity}-{key.id}-{before}") for key in made))
            for key in made:
                found = [item.command.id for item in await journal.history.read_stream(key)]
                assert found == [f"{key.entity}-{key.id}-{before}" for before in range(5)]

    async def test_the_feed_has_every_turn_once_in_the_order_of_the_commits(self, open_journal: OpenJournal) -> None:
        expected: list[tuple[EntityKey, str]] = []
        for part in range(2):
            async with self.owned(open_journal) as (journal, partition):
                made = keys(journal, 40)
                for before in range(part * 3, part * 3 + 3):
                    await appended(partition, *(run(key, before, f"c{before}") for key in made))
                    expected += [(key, f"c{before}") for key in made]
        async with self.owned(open_journal) as (journal, partition):
            for limit in (1, 7, 1000):
                assert [(entry.turn.command.key, entry.turn.command.id) for entry in await whole_feed(journal, limit)] == expected

    async def test_the_events_are_those_of_the_feed(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 20)
            for before in range(3):
                await appended(partition, *(run(key, before, f"c{before}") for key in made))
            for limit in (1, 7, 1000):
                feed = await journal.history.read_feed(PARTITION, after=1, limit=limit)
                events = await journal.history.read_events(PARTITION, after=1, limit=limit)
                assert [(item.position, item.key, item.before, item.events) for item in events] == [
                    (entry.position, entry.turn.command.key, entry.turn.before, entry.turn.events) for entry in feed
                ]

    async def test_reading_on_after_any_page_of_the_feed_neither_loses_nor_doubles_a_turn(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            first, second = keys(journal, 2)
            await appended(partition, run(first, 0, *(f"c{n}" for n in range(10))))
            await appended(partition, run(second, 0, "d"))
            for limit in range(1, 12):
                page = await journal.history.read_feed(PARTITION, limit=limit)
                rest = await journal.history.read_feed(PARTITION, after=page[-1].position)
                assert [entry.turn.command.id for entry in (*page, *rest)] == [*(f"c{n}" for n in range(10)), "d"]

    async def test_a_feed_that_goes_on_while_appends_do_misses_nothing(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 300)
            seen: list[TurnEntry] = []

            async def follow() -> None:
                while len(seen) < len(made):
                    seen.extend(await journal.history.read_feed(PARTITION, after=seen[-1].position if seen else 0, limit=10))
                    await asyncio.sleep(0)

            async with asyncio.TaskGroup() as group:
                group.create_task(follow())
                for key in made:
                    group.create_task(partition.append(Transition(runs=(run(key, 0, "c"),))))
            assert [entry.turn.command.key for entry in seen] == made

    async def test_a_told_append_is_in_every_read(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            [key] = keys(journal, 1)
            for before in range(30):
                position = await appended(partition, run(key, before, f"c{before}"))
                assert (await partition.read_states([key]))[key].version == before + 1
                assert (await journal.history.read_stream(key, after=before))[-1].version == before + 1
                assert (await journal.history.read_instances("bank", "Account"))[0].state.version == before + 1
                assert await journal.history.read_turn(CommandRef(key=key, command_id=f"c{before}")) is not None
                feed = await journal.history.read_feed(PARTITION, after=position - 1)
                assert [entry.turn.command.id for entry in feed] == [f"c{before}"]

    async def test_reading_needs_no_owner(self, open_journal: OpenJournal) -> None:
        async with asyncio.timeout(WAIT_S), open_journal() as journal:
            [key] = keys(journal, 1)
            ref = CommandRef(key=key, command_id="c0")
            for before in range(2):
                async with journal.own(PARTITION) as partition:
                    await appended(partition, run(key, before, f"c{before}"))
                assert [made.version for made in await journal.history.read_stream(key)] == list(range(1, before + 2))
                assert len(await whole_feed(journal)) == before + 1
                listed = await journal.history.read_instances("bank", "Account")
                assert [entry.state for entry in listed] == [state(before + 1)]
                assert await journal.history.read_turn(ref) == turn(key, "c0", 0)

    async def test_all_partitions_are_owned_at_once_and_listed_as_one(self, open_journal: OpenJournal) -> None:
        async with asyncio.timeout(WAIT_S), open_journal() as journal, AsyncExitStack() as owning:
            owned = [await owning.enter_async_context(journal.own(number)) for number in range(journal.partitions)]
            made = [EntityKey("bank", "Account", f"acc-{number:03d}") for number in range(60)]
            for key in made:
                await appended(owned[journal.partition_of(key)], run(key, 0, "c"))
            listed: list[EntityKey] = []
            while page := await journal.history.read_instances("bank", "Account", after=listed[-1].id if listed else "", limit=7):
                listed += [entry.key for entry in page]
            assert listed == made
            for number in range(journal.partitions):
                feed = await journal.history.read_feed(number)
                assert [entry.turn.command.key for entry in feed] == [key for key in made if journal.partition_of(key) == number]

    async def test_instances_are_listed_by_code_point_page_by_page(self, open_journal: OpenJournal) -> None:
        ids = ["a", "B", "b", "é", "e\u0301x", "ｚ", "🏦", "\uffee", "10", "9", "a-", "a.", "aa", "Z", "z"]
        async with self.owned(open_journal) as (journal, partition):
            made = belonging(journal, ids)
            for key in made:
                await appended(partition, run(key, 0, "c"))
            others = [*keys(journal, 2, entity="Accounts"), *keys(journal, 2, entity="Account2")]
            await appended(partition, *(run(key, 0, "c") for key in others))
        expected = sorted(key.id for key in made)
        async with self.owned(open_journal) as (journal, partition):
            for limit in (1, 4, 100):
                listed: list[str] = []
                while page := await journal.history.read_instances(
                    "bank", "Account", after=listed[-1] if listed else "", limit=limit
                ):
                    assert len(page) <= limit
                    listed += [entry.key.id for entry in page]
                assert listed == expected

    async def test_a_listing_can_be_of_some_partitions(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = belonging(journal, [f"i{number}" for number in range(10)])
            for key in made:
                await appended(partition, run(key, 0, "c"))
            here, history = [journal.partition_of(made[0])], journal.history
            assert len(await history.read_instances("bank", "Account", partitions=here)) == len(made)
            others = [number for number in range(journal.partitions + 1) if number not in here]
            assert list(await history.read_instances("bank", "Account", partitions=others[:-1])) == []
            assert list(await history.read_instances("bank", "Account", partitions=())) == []

    async def test_a_listing_shows_new_and_old_instances_with_their_last_states(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = keys(journal, 10)
            await appended(partition, *(run(key, 0, "a") for key in made[::2]))
        async with self.owned(open_journal) as (journal, partition):
            await appended(partition, *(run(key, 0, "b") for key in made[1::2]), run(made[0], 1, "c"))
            listed = {entry.key: entry.state for entry in await journal.history.read_instances("bank", "Account", limit=100)}
            assert listed == {key: state(2 if key == made[0] else 1) for key in made}

    async def test_hostile_ids_and_bytes_come_back_as_they_were(self, open_journal: OpenJournal) -> None:
        async with self.owned(open_journal) as (journal, partition):
            made = belonging(journal, HOSTILE_IDS)
            await appended(partition, *(run(key, 0, "._:@=+-") for key in made))
        async with self.owned(open_journal) as (journal, partition):
            assert set(await partition.read_states(made)) == set(made)
            for key in made:
                assert [item.command.key for item in await journal.history.read_stream(key)] == [key]
                assert await journal.history.read_turn(CommandRef(key=key, command_id="._:@=+-")) is not None
            assert list(await journal.check()) == []
