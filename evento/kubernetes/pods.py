"""What all pods have in common: labels, and a security context that the Pod Security Standard "restricted" admits."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from evento.kubernetes.options import Object
from evento.model.resources import Resources

USER = 65532  # "nonroot" in the images of most who make small ones
PRE_STOP_S = 5  # a pod that ends is still called until every node's rules have changed
TMP_SIZE = "64Mi"
_CPU_ASKED = 100  # thousandths of one
_MILLI = 1000
_MEBIBYTE = 1024 * 1024
_PART_OF = {"app.kubernetes.io/part-of": "evento", "app.kubernetes.io/managed-by": "evento"}


class Container(Struct, frozen=True):
    """The one container of a pod. `mounts` are paths by the volume's name, each a volume of `volumes` or of a claim."""

    image: str
    pull_always: bool = False
    resources: Resources = Resources()
    env: Sequence[Object] = ()
    args: Sequence[str] = ()
    env_from: Sequence[Object] = ()
    port: int | None = None
    probes: Mapping[str, Object] = {}
    mounts: Mapping[str, str] = {}
    volumes: Sequence[Object] = ()


def labels(name: str, component: str) -> dict[str, str]:
    """Return the labels of a component's objects, the recommended ones; they also select its pods."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component, **_PART_OF}


def metadata(name: str, namespace: str, labels: Mapping[str, str], **more: Any) -> Object:
    """Return an object's metadata."""
    return {"name": name, "namespace": namespace, "labels": dict(labels), **more}


def service_account(name: str, namespace: str, of: Mapping[str, str]) -> Object:
    """Return an account without a token: nothing here speaks to the cluster's API."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, namespace, of),
        "automountServiceAccountToken": False,
    }


def probe(path: str, *, every_s: int, failures: int) -> Object:
    """Return a probe of a path on the container's port."""
    get = {"path": path, "port": "http", "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": every_s, "timeoutSeconds": 3, "failureThreshold": failures}


def pod(account: str, container: Container, of: Mapping[str, str], **more: Any) -> Object:
    """Return a pod template: non-root, read-only, without capabilities, tokens or the environment of other services."""
    return {
        "metadata": {"labels": dict(of), **more.pop("metadata", {})},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(of["app.kubernetes.io/component"], container)],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}}, *container.volumes],
            **more,
        },
    }


def _resources(container: Container) -> Object:
    """Return what a container asks for and what it may use: all its memory at once, and most of its CPU only when that is free."""
    memory, cpus = f"{container.resources.memory_bytes // _MEBIBYTE}Mi", round(container.resources.cpus * _MILLI)
    return {
        "requests": {"cpu": f"{min(_CPU_ASKED, cpus)}m", "memory": memory},
        "limits": {"cpu": f"{cpus}m", "memory": memory, "ephemeral-storage": "256Mi"},
    }


def _container(name: str, container: Container) -> Object:
    body: Object = {
        "name": name,
        "image": container.image,
        "resources": _resources(container),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            *({"name": volume, "mountPath": path} for volume, path in container.mounts.items()),
        ],
        **container.probes,
    }
    if container.pull_always:
        body["imagePullPolicy"] = "Always"
    if container.args:
        body["args"] = list(container.args)
    if container.env:
        body["env"] = list(container.env)
    if container.env_from:
        body["envFrom"] = list(container.env_from)
    if container.port is not None:
        body["ports"] = [{"name": "http", "containerPort": container.port, "protocol": "TCP"}]
        # The kubelet waits by itself: images made from scratch have no `sleep`.
        body["lifecycle"] = {"preStop": {"sleep": {"seconds": PRE_STOP_S}}}
    return body
