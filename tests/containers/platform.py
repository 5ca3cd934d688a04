"""A whole platform whose functions are puppets in containers, and what its face tells of them."""

import json
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evento.functions.leftovers import Belongings
from evento.functions.lockdown import PLATFORM_LABEL
from tests.containers.engine import Engine
from tests.faults.node import Node

_SCHEMAS = {"Counter": ("count", "int"), "Done": ("said", "string"), "Do": ("order", "string")}


@contextmanager
def running(engine: Engine) -> Iterator[Node]:
    """Give a platform that runs containers on the tests' engine; when it is stopped at the end it must leave nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="evp-"))  # short enough for sockets
    try:
        with Node(folder, env={"EVENTO_CONTAINER_ENGINE": engine.url, "TMPDIR": str(folder)}) as node:
            node.start()
            yield node
            assert node.stop() == 0
            assert not containers(engine, node)
            assert not list(folder.glob("evento-*"))
    finally:
        shutil.rmtree(folder)


def containers(engine: Engine, node: Node) -> list[str]:
    """Return the names of a platform's containers."""
    belongings = Belongings(node.data, node.data)
    belongings.take_name()
    return engine.containers("--filter", f"label={PLATFORM_LABEL}={belongings.platform}")


def manifests(folder: Path, image: str, *, name: str = "puppet", retry: str = "{maxAttempts: 1}", **function: Any) -> Path:
    """Write the manifests of namespace `name`, whose only function is this image; `function` has more of its fields, as YAML."""
    file = folder / f"{name}.yaml"
    env = {"NAMESPACE": name} | function.pop("env", {})
    fields = {"image": image, "timeout": "10s", "start": "60s", "env": json.dumps(env)} | function
    parts = [
        _resource("Entity", "Counter", name, {"apply": name}),
        _resource("Event", "Done", name, {"entity": "Counter"}),
        _resource("Command", "Do", name, {"entity": "Counter", "events": "[Done]", "handle": name, "retry": retry}),
        _resource("Function", name, name, fields),
    ]
    file.write_text("---\n".join(parts))
    return file


def _resource(kind: str, name: str, namespace: str, fields: Mapping[str, Any]) -> str:
    spec = dict(fields)
    if name in _SCHEMAS:
        field, type_ = _SCHEMAS[name]
        spec["schema"] = f"{{type: record, name: {name}, fields: [{{name: {field}, type: {type_}}}]}}"
    lines = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    return f"apiVersion: evento.dev/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{lines}"


def metric(node: Node, name: str, **labels: str) -> float:
    """Return a number from the metrics page; 0 if it is not there."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=60) as response:  # noqa: S310
        text = response.read().decode()
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}{{(.*)}} (\S+)", line)
        if found and all(f'{key}="{value}"' in found[1] for key, value in labels.items()):
            return float(found[2])
    return 0.0
