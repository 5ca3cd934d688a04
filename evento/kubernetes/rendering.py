"""All objects of a deployment, by the file that they stand in: definitions first, then Evento's node, then each namespace."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evento.errors import DeploymentRefused
from evento.kubernetes.definitions import definitions
from evento.kubernetes.functions import function_objects
from evento.kubernetes.network import deny_all
from evento.kubernetes.nodes import node_objects
from evento.kubernetes.options import Object, Options
from evento.kubernetes.pods import labels
from evento.kubernetes.resources import custom_resource, node_manifests
from evento.model.keys import LABEL_NAME
from evento.registry.declared import Declared
from evento.registry.documents import Documents, Problem
from evento.registry.draft import key_of

MANIFESTS_BYTES_MAX = 1_000_000  # a ConfigMap holds one MiB, with its metadata
_SIZE = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi|Ti)")
_IMAGE = re.compile(r"[a-z0-9][^\s]{0,511}")

Resource = tuple[Declared, Mapping[str, Any]]


def render(documents: Documents, declared: Sequence[Declared], options: Options) -> dict[str, list[Object]]:
    """Return the objects of a sound deployment, in the order in which they are applied, by file name; the same for the same input.

    `declared` are the resources of these documents. Raises DeploymentRefused, with all problems, for what cannot run in a cluster.
    """
    pairs = zip(declared, documents.documents, strict=True)  # sound documents declare one resource each
    resources = sorted(((each, document.content) for each, document in pairs), key=lambda pair: key_of(pair[0]))
    manifests = node_manifests(resources)
    problems = [*_problems(resources, options), *_too_large(manifests)]
    if problems:
        message = f"this cannot be rendered for a cluster: {problems[0]}"
        raise DeploymentRefused(message, problems=[str(problem) for problem in problems])
    urls = [each.function.url for each, _ in resources if each.function and each.function.url]
    files = {
        "0-definitions.yaml": definitions(),
        "1-evento.yaml": [_namespace(options.namespace), *node_objects(options, manifests, urls)],
    }
    for namespace in sorted({each.namespace for each in declared}):
        own = [pair for pair in resources if pair[0].namespace == namespace]
        files[f"2-{namespace}.yaml"] = _of_namespace(namespace, own, options)
    return files


def _of_namespace(namespace: str, resources: Sequence[Resource], options: Options) -> list[Object]:
    objects = [_namespace(namespace), deny_all(namespace, labels("evento", "namespace"))]
    for declared, _ in resources:
        if declared.function and declared.function.image:
            objects += function_objects(declared.function, options)
    return objects + [custom_resource(declared, content) for declared, content in resources]


def _namespace(name: str) -> Object:
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "evento", **levels}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _problems(resources: Sequence[Resource], options: Options) -> list[Problem]:
    given = (
        ("namespace", options.namespace, LABEL_NAME),
        ("storage", options.storage, _SIZE),
        ("node-image", options.image, _IMAGE),
    )
    problems = [
        Problem(f"--{name} must match {rule.pattern}", value=repr(value))
        for name, value, rule in given
        if not rule.fullmatch(value)
    ]
    for declared, _ in resources:
        if declared.function and declared.function.command:
            option = f"--image {declared.namespace}/{declared.name}=IMAGE"
            message = f"is a local process; in a cluster it needs an image: render with {option}"
            problems.append(declared.origin.problem(message, ("spec", "command"), resource=declared.title))
    if any(declared.namespace == options.namespace for declared, _ in resources):
        message = f"the namespace {options.namespace} is that of Evento's own node: give that another one, with --namespace"
        problems.append(Problem(message))
    return problems


def _too_large(manifests: Mapping[str, str]) -> list[Problem]:
    size = sum(len(text.encode()) for text in manifests.values())
    if size <= MANIFESTS_BYTES_MAX:
        return []
    return [Problem(f"the manifests have {size} bytes, more than a ConfigMap holds ({MANIFESTS_BYTES_MAX}): render them in parts")]
