"""Turns, refusals, states and pending entries of every shape, for Hypothesis."""

from hypothesis import strategies as st

from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.times import TIME_MAX_US
from evento.model.transition import Refusal

LONG_MAX = 2**63 - 1
SCHEMA_ID_MAX = 2**31 - 1

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.text("a", min_size=60, max_size=9000)
payloads = st.binary(max_size=60) | st.integers(61, 20_000).map(bytes)
times = st.integers(0, TIME_MAX_US)
longs = st.integers(0, LONG_MAX) | st.integers(0, 20_000)
schema_ids = st.integers(0, SCHEMA_ID_MAX)
instance_ids = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"), exclude_characters="/"), min_size=1, max_size=60
)
keys = st.builds(EntityKey, st.just("bank") | texts, st.just("Account") | texts, instance_ids)
contexts = st.builds(Context, *[st.none() | texts] * 6)
failures = st.builds(Failure, texts, texts, st.none() | texts)
commands = st.builds(
    Command, texts, keys, texts, schema_ids, payloads, times, st.none() | longs, st.none() | times, st.none() | contexts
)
events = st.builds(Event, texts, schema_ids, payloads, st.booleans())
kinds = st.sampled_from([OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED, OutcomeKind.CONFLICT, OutcomeKind.DISCARDED])
turns = st.builds(Turn, commands, kinds, longs, st.lists(events, max_size=4).map(tuple), times, texts, longs, st.none() | failures)
refusals = st.builds(Refusal, texts, longs, keys, texts, texts, texts, times)
states = st.builds(State, st.integers(1, LONG_MAX), payloads, schema_ids, texts)
pendings = st.builds(Pending, longs, commands, longs, st.none() | times, st.booleans(), st.none() | failures)
