"""Evento's resources as objects of a cluster: their names there, and the manifests that the node in the cluster is given.

A custom resource has the manifest's fields. Its name is another: Kubernetes has lower-case names only.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evento.kubernetes.functions import url_of
from evento.kubernetes.options import Object
from evento.kubernetes.yaml_writer import yaml_text
from evento.registry.declared import Declared

NAME_ANNOTATION = "evento.dev/name"
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def object_name(type_name: str) -> str:
    """Return the name in the cluster: `WithdrawCash` is `withdraw-cash`. No two names are the same there."""
    return _CAPITAL.sub("-", type_name).lower()


def custom_resource(declared: Declared, content: Mapping[str, Any]) -> Object:
    """Return a resource as it stands in the cluster; a Command's name has its Entity's in front, as its identity has."""
    named = object_name(declared.name) if declared.kind != "Function" else declared.name
    name = f"{object_name(declared.entity)}.{named}" if declared.kind == "Command" else named
    given = content["metadata"]
    metadata: Object = {"name": name, "namespace": declared.namespace}
    if given.get("labels"):
        metadata["labels"] = dict(given["labels"])
    metadata["annotations"] = {**given.get("annotations", {}), NAME_ANNOTATION: declared.name}
    return {"apiVersion": content["apiVersion"], "kind": declared.kind, "metadata": metadata, "spec": _spec(declared, content)}


def _spec(declared: Declared, content: Mapping[str, Any]) -> Object:
    """Return the fields, with a schema that was given as text put in as what it says."""
    spec = dict(content["spec"])
    if declared.schema is not None:
        spec["schema"] = json.loads(declared.schema.text)
    return spec


def node_manifests(resources: Sequence[tuple[Declared, Mapping[str, Any]]]) -> dict[str, str]:
    """Return what is deployed to the node, a file for each namespace: a Function that is an image is a url there."""
    by_namespace: dict[str, list[Object]] = {}
    for declared, content in resources:
        by_namespace.setdefault(declared.namespace, []).append(_deployed(declared, content))
    return {f"{namespace}.yaml": yaml_text(contents) for namespace, contents in sorted(by_namespace.items())}


def _deployed(declared: Declared, content: Mapping[str, Any]) -> Object:
    function = declared.function
    if function is None or not function.image:
        return dict(content)
    kept = {name: value for name, value in content["spec"].items() if name in ("timeout", "start")}
    return {**content, "spec": {"url": url_of(function), **kept}}
