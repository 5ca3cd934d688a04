"""Writes evento/protocol/vectors/: `python -m tests.protocol.make_vectors`."""

import asyncio
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import evento.protocol
from evento.keys import SigningKey
from evento.protocol.envelope import CALL, DISCOVERY, REPLY, encode
from evento.protocol.signature import content_digest, parameters_of, signature_base
from evento.sdk.calls import EntityCalls
from evento.sdk.manifests import discovery
from tests.protocol.counter import Add, Added, AddTwice, Counter, demo

FOLDER = Path(evento.protocol.__file__).parent / "vectors"
SIGNED_FOLDER = FOLDER / "signed"
# The first key of RFC 8032, section 7.1: known to everybody, and used nowhere.
PRIVATE_KEY = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(PRIVATE_KEY)))
ENTITY = demo.entities["Counter"]
TIME_US = 1_700_000_000_000_000


def payload(value):
    declared = {**ENTITY.commands, **ENTITY.events}.get(type(value).__name__, ENTITY)
    return declared.codec.encode(value)


def call(operation, *works):
    """One call; each work is (id, version, state or None, [(value or (type, bytes)), ...])."""
    items = [item if isinstance(item, tuple) else (type(item).__name__, payload(item)) for work in works for item in work[3]]
    types = list(dict.fromkeys(name for name, _ in items))
    told = 0 if operation == "apply" else len(items)
    return {
        "operation": operation,
        "namespace": "demo",
        "entity": "Counter",
        "types": types,
        "ids": [work[0] for work in works],
        "versions": [work[1] for work in works],
        "states": [payload(work[2]) if work[2] else b"" for work in works],
        "counts": [len(work[3]) for work in works],
        "item_types": [types.index(name) for name, _ in items],
        "payloads": [data for _, data in items],
        "times": [TIME_US + number for number in range(told)],
        "command_ids": [f"c{number + 1}" for number in range(told)],
        "contexts": [None] * told,
    }


def with_context(plain):
    context = dict.fromkeys(("causation_id", "actor", "traceparent", "transaction_id", "encryption_key_id"))
    return plain | {"contexts": [{"correlation_id": "conversation-7", **context}]}


CALLS = {
    "turn-first": call("turn", ("a", 0, None, [Add(2)])),
    "turn-next": call("turn", ("a", 1, Counter(2), [Add(3)])),
    "turn-rejected": call("turn", ("a", 2, Counter(5), [Add(-1)])),
    "turn-two-events": call("turn", ("a", 3, Counter(5, 1), [AddTwice(1)])),
    "turn-run": call("turn", ("a", 0, None, [Add(1), AddTwice(2), Add(0)])),
    "turn-many": call("turn", ("a", 1, Counter(2), [Add(1)]), ("Zoë", 0, None, [Add(200), Add(3)]), ("c", 4, Counter(9, 2), [])),
    "turn-handler-fails": call("turn", ("a", 1, Counter(2), [Add(1), AddTwice(-1), Add(1)]), ("b", 0, None, [Add(1)])),
    "turn-undecodable": call("turn", ("a", 1, Counter(2), [Add(1), ("Add", b"\xff"), Add(1)]), ("b", 0, None, [Add(1)])),
    "turn-unknown-type": call("turn", ("a", 1, Counter(2), [("Subtract", b"\2")]), ("b", 0, None, [Add(1)])),
    "turn-context": with_context(call("turn", ("a", 0, None, [Add(2)]))),
    "turn-empty": call("turn"),
    "handle": call("handle", ("a", 1, Counter(2), [Add(1)]), ("b", 0, None, [AddTwice(4)])),
    "apply": call("apply", ("a", 1, Counter(2), [Added(1), Added(300)]), ("b", 0, None, [Added(-64)])),
}


def readable(columns):
    """Bytes as hex, everything else as it is."""
    if isinstance(columns, bytes):
        return columns.hex()
    if isinstance(columns, dict):
        return {name: readable(value) for name, value in columns.items()}
    return [readable(value) for value in columns] if isinstance(columns, list) else columns


def vector(name):
    reply = {"revision": "7", **asyncio.run(EntityCalls(ENTITY).answer(CALLS[name]))}
    # What a message says is everybody's own business.
    failures = [{**failure, "message": "…"} for failure in reply["failures"]]
    reply = {**reply, "failures": failures}
    return {
        "call": {"hex": encode(CALL, CALLS[name]).hex(), "decoded": readable(CALLS[name])},
        "reply": {"hex": encode(REPLY, reply).hex(), "decoded": readable(reply)},
    }


def discovery_vector():
    described = {**discovery(demo), "revision": "7"}
    return {"discovery": {"hex": encode(DISCOVERY, described).hex(), "decoded": readable(described)}}


def files():
    """Return the files' texts by name."""
    vectors = {f"{name}.json": vector(name) for name in CALLS} | {"discovery.json": discovery_vector()}
    return {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in vectors.items()}


def signed(method, body, created_s):
    """A request with its signature; Ed25519 is deterministic."""
    digest, parameters = content_digest(body), parameters_of(created_s=created_s, key_id=KEY.id)
    base = signature_base(method=method, path="/evento", digest=digest, parameters=parameters)
    headers = KEY.headers(method=method, path="/evento", body=body, created_s=created_s)
    return {
        "private_key": PRIVATE_KEY,
        "public_key": KEY.public,
        "key_id": KEY.id,
        "method": method,
        "path": "/evento",
        "body": body.hex(),
        "signed": base.decode(),
        "headers": headers,
    }


def signed_files():
    """Return the texts of the files about signed requests by name."""
    vectors = {
        "discovery.json": signed("GET", b"", TIME_US // 1_000_000),
        "turn-first.json": signed("POST", encode(CALL, CALLS["turn-first"]), TIME_US // 1_000_000),
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in vectors.items()}


if __name__ == "__main__":
    for folder, texts in ((FOLDER, files()), (SIGNED_FOLDER, signed_files())):
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
