"""The invariants of reliability §3.2 that apply to one engine, checked on a finished history from the outside."""

from collections.abc import Iterator

from evento.model.command import OutcomeKind
from evento.model.keys import EntityKey
from tests.simulation.bank import decode, encode, fold
from tests.simulation.world import World, stream_of, told


def check(world: World) -> list[str]:
    """Return every invariant that is broken, as a sentence with its number."""
    problems = list(world.problems)
    for part in (lost, phantom, doubled, streams, order, told_is_stored, refused):
        problems += part(world)
    return problems


def lost(world: World) -> Iterator[str]:
    for sent in world.sent:
        ends = [turn for turn in stream_of(world, sent.command.key) if turn.command.id == sent.command.id]
        if len(ends) != 1:
            yield f"I1/I3: {sent.command.id} has {len(ends)} ends"


def phantom(world: World) -> Iterator[str]:
    sent = {(item.command.key, item.command.id): item.command.payload for item in world.sent}
    for key, turn, _ in world.journal.log:
        if sent.get((key, turn.command.id)) != turn.command.payload:
            yield f"I2: {turn.command.id} of {key} was never sent like this"


def doubled(world: World) -> Iterator[str]:
    nonces: set[int] = set()
    for key, turn, _ in world.journal.log:
        for event in turn.events:
            nonce = decode(event.type, event.payload)["nonce"]
            if nonce in nonces:
                yield f"I3: the invocation {nonce} stands twice in the log, at {key}"
            nonces.add(nonce)


def streams(world: World) -> Iterator[str]:
    for key in {key for key, _, _ in world.journal.log}:
        yield from _stream(world, key)


def _stream(world: World, key: EntityKey) -> Iterator[str]:
    version, state = 0, None
    expectations = {sent.command.id: sent.command.expected for sent in world.sent if sent.command.key == key}
    for turn in stream_of(world, key):
        expected = expectations.get(turn.command.id)
        if turn.before != version:
            yield f"I4: {key} goes from version {version} to {turn.before}"
        if turn.kind is OutcomeKind.CONFLICT and expected == version:
            yield f"{key}: {turn.command.id} ended as a conflict at the version that it expected"
        for event in turn.events:
            content = decode(event.type, event.payload)
            if content["basis"] != version:
                yield f"I7: event {version + 1} of {key} was decided on version {content['basis']}"
            if content["command_id"] != turn.command.id:
                yield f"event {version + 1} of {key} belongs to {content['command_id']}, not to {turn.command.id}"
            if expected not in (None, turn.before):
                yield f"{key}: {turn.command.id} expected {expected} and was executed at {turn.before}"
            state = fold(state, event.type, content)
            version += 1
    stored = world.journal.states.get(key)
    if version and (stored is None or state is None or stored.version != version or stored.payload != encode("Account", state)):
        yield f"I6/I11: the state of {key} is not the fold of its {version} events"
    if state is not None and state["balance"] < 0:
        yield f"I8: {key} is overdrawn"


def order(world: World) -> Iterator[str]:
    """A Command that was accepted before another was sent stands before it, unless it was scheduled for later."""
    places = {(key, turn.command.id): place for place, (key, turn, _) in enumerate(world.journal.log)}
    for first in world.sent:
        if first.accepted_s is None or first.command.due_us is not None:
            continue
        for later in world.sent:
            if first.by_record and (not later.by_record or later.command.due_us is not None):
                continue  # a record is taken in when it is read; what does not come by record, or is scheduled, may be earlier
            if later.command.key == first.command.key and later.sent_s > first.accepted_s:
                key = first.command.key
                if places.get((key, later.command.id), len(places)) < places.get((key, first.command.id), -1):
                    yield f"I5: at {key} {later.command.id} was sent after {first.command.id} was accepted, and stands before it"


def told_is_stored(world: World) -> Iterator[str]:
    for sent, turn in told(world):
        stored = [item for item in stream_of(world, sent.command.key) if item.command.id == sent.command.id]
        if not stored or stored[0].events != turn.events or stored[0].before != turn.before:
            yield f"I11: what {sent.command.id} was told is not what is stored"


def refused(world: World) -> Iterator[str]:
    """Every record that cannot be executed is answered with a refusal, at least once, and no other is ever refused."""
    answered = {refusal.offset for refusal in world.journal.refusals}
    for offset in set(world.to_refuse) - answered:
        yield f"I2: the record {offset} should have been refused"
    for offset in answered - set(world.to_refuse):
        yield f"I1: the record {offset} was refused: {[item for item in world.journal.refusals if item.offset == offset]}"
