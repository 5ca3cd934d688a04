"""The invariants of reliability §3.2 that apply to one engine, checked on a finished history from the outside."""

from collections.abc import Iterator

from evento.model.command import OutcomeKind
from evento.model.keys import EntityKey
from tests.simulation.bank import decode, encode, fold
from tests.simulation.world import World, stream_of, told


def check(world: World) -> list[str]:
    """Return every invariant that is broken, as a sentence with its number."""
    problems = list(world.problems)
    for part in (lost, phantom, doubled, streams, order, told_is_stored):
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
    for turn in stream_of(world, key):
        if turn.before != version:
            yield f"I4: {key} goes from version {version} to {turn.before}"
        if turn.kind is OutcomeKind.CONFLICT and turn.command.expected == version:
            yield f"{key}: {turn.command.id} ended as a conflict at the version that it expected"
        for event in turn.events:
            content = decode(event.type, event.payload)
            if content["basis"] != version:
                yield f"I7: event {version + 1} of {key} was decided on version {content['basis']}"
            if content["command_id"] != turn.command.id:
                yield f"event {version + 1} of {key} belongs to {content['command_id']}, not to {turn.command.id}"
            if turn.command.expected not in (None, turn.before):
                yield f"{key}: {turn.command.id} expected {turn.command.expected} and was executed at {turn.before}"
            state = fold(state, event.type, content)
            version += 1
    stored = world.journal.states.get(key)
    if version and (stored is None or state is None or stored.version != version or stored.payload != encode("Account", state)):
        yield f"I6/I11: the state of {key} is not the fold of its {version} events"
    if state is not None and state["balance"] < 0:
        yield f"I8: {key} is overdrawn"


def order(world: World) -> Iterator[str]:
    """A Command told before another was sent comes before it in the stream."""
    by_key: dict[EntityKey, list[tuple[float, float, int]]] = {}
    for sent, turn in told(world):
        if sent.told_s is not None:
            by_key.setdefault(sent.command.key, []).append((sent.sent_s, sent.told_s, turn.version))
    for key, items in by_key.items():
        for _, told_s, version in items:
            for later_s, _, later_version in items:
                if later_s > told_s and later_version < version:
                    yield f"I5: at {key} version {later_version} was sent after version {version} was told"


def told_is_stored(world: World) -> Iterator[str]:
    for sent, turn in told(world):
        stored = [item for item in stream_of(world, sent.command.key) if item.command.id == sent.command.id]
        if not stored or stored[0].events != turn.events or stored[0].before != turn.before:
            yield f"I11: what {sent.command.id} was told is not what is stored"
