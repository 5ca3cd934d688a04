"""Evento's own node: one pod with a disk that stays, the API in front of it, and a Job that deploys to it what was rendered.

One pod, because a journal in SQLite has one writer. A StatefulSet starts the next one only when the last one is surely gone, and
the volume's mode holds that on the disk's side too.
"""

import hashlib
from collections.abc import Mapping, Sequence

from evento.kubernetes.functions import NODE
from evento.kubernetes.functions import PORT as FUNCTION_PORT
from evento.kubernetes.network import CLIENT_LABEL, clients, deny_all, on_port, pods_in, policy, to_functions, to_names, to_urls
from evento.kubernetes.options import Object, Options
from evento.kubernetes.pods import PRE_STOP_S, Container, labels, metadata, pod, probe, service_account
from evento.model.resources import Resources

API = "evento-api"  # not `evento`: other pods would get an EVENTO_PORT of it
API_PORT = 7070
PEERS = "evento-nodes"
SETTINGS = "evento-settings"
SIGNING_SECRET = "evento-signing-key"  # noqa: S105 - a name
SIGNING_FILE = "signing.pem"
_DATA = "/var/lib/evento"
_SIGNING_FOLDER = "/etc/evento/signing"
_MANIFESTS_FOLDER = "/etc/evento/manifests"
_SHUTDOWN_S = 20
_MEMORY_BYTES = 1024 * 1024 * 1024
_STARTUP_S = 600  # a long journal is read before Commands are taken
_DEPLOY_S = 900
_KEPT_S = 24 * 3600  # that a finished Job can be looked at
_DIGITS = 10


def node_objects(options: Options, manifests: Mapping[str, str], urls: Sequence[str]) -> list[Object]:
    """Return the objects of the node; `manifests` are texts by file name, `urls` those of functions that others run."""
    namespace, of, deploys = options.namespace, labels(NODE, "node"), labels("evento-deploy", "deploy")
    settings = _settings(options)
    api_rule = {"from": [clients(), pods_in(namespace, deploys)], "ports": on_port(API_PORT)}
    return [
        service_account(NODE, namespace, of),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(SETTINGS, namespace, of), "data": settings},
        _service(API, namespace, of, {"type": "ClusterIP"}),
        _service(PEERS, namespace, of, {"clusterIP": "None", "publishNotReadyAddresses": True}),
        _stateful_set(options, of, _digest(settings)),
        deny_all(namespace, labels(NODE, "namespace")),
        policy(NODE, namespace, of, pods=of, ingress=[api_rule], egress=[to_names(), to_functions(FUNCTION_PORT), *to_urls(urls)]),
        *_deploy_job(options, manifests, deploys, of),
    ]


def _settings(options: Options) -> dict[str, str]:
    settings = {
        "EVENTO_DATA": _DATA,
        "EVENTO_HOST": "0.0.0.0",  # noqa: S104 - a pod has an address of its own, and a policy in front
        "EVENTO_LOG_FORMAT": "json",
        "EVENTO_PORT": str(API_PORT),
        "EVENTO_SHUTDOWN_S": str(_SHUTDOWN_S),
    }
    if options.public_key:
        settings["EVENTO_SIGNING_KEY"] = f"{_SIGNING_FOLDER}/{SIGNING_FILE}"
    return settings


def _service(name: str, namespace: str, of: Mapping[str, str], more: Object) -> Object:
    port = {"name": "http", "port": API_PORT, "targetPort": "http", "protocol": "TCP"}
    spec = {**more, "selector": dict(of), "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace, of), "spec": spec}


def _stateful_set(options: Options, of: Mapping[str, str], digest: str) -> Object:
    signing = {"name": "signing", "secret": {"secretName": SIGNING_SECRET, "defaultMode": 0o440}}
    container = Container(
        image=options.image,
        args=["serve"],
        env_from=[{"configMapRef": {"name": SETTINGS}}],
        port=API_PORT,
        probes={
            "startupProbe": probe("/livez", every_s=5, failures=_STARTUP_S // 5),
            "readinessProbe": probe("/readyz", every_s=2, failures=1),
            "livenessProbe": probe("/livez", every_s=10, failures=6),
        },
        mounts={"data": _DATA, **({"signing": _SIGNING_FOLDER} if options.public_key else {})},
        volumes=[signing] if options.public_key else [],
        resources=Resources(memory_bytes=_MEMORY_BYTES),
    )
    template = pod(
        NODE,
        container,
        of,
        metadata={"annotations": {"evento.dev/settings": digest}},  # other settings, another pod
        terminationGracePeriodSeconds=PRE_STOP_S + 2 * _SHUTDOWN_S,
    )
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": options.storage}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(NODE, options.namespace, of),
        "spec": {
            "serviceName": PEERS,
            "replicas": 1,
            "selector": {"matchLabels": dict(of)},
            "template": template,
            "volumeClaimTemplates": [claim],
        },
    }


def _deploy_job(options: Options, manifests: Mapping[str, str], of: Mapping[str, str], node: Mapping[str, str]) -> list[Object]:
    """Return the Job that deploys the manifests, named by their content: what changes is deployed anew, what does not is not."""
    name = f"evento-deploy-{_digest({**manifests, 'image': options.image})}"
    container = Container(
        image=options.image,
        args=["deploy", _MANIFESTS_FOLDER, "--yes", "--url", f"http://{API}.{options.namespace}.svc:{API_PORT}"],
        mounts={"manifests": _MANIFESTS_FOLDER},
        volumes=[{"name": "manifests", "configMap": {"name": name}}],
    )
    template = pod(NODE, container, {**of, CLIENT_LABEL: "true"}, restartPolicy="OnFailure")
    spec = {
        "backoffLimit": 30,
        "activeDeadlineSeconds": _DEPLOY_S,
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": template,
    }
    to_api = {"to": [pods_in(options.namespace, node)], "ports": on_port(API_PORT)}
    where = metadata(name, options.namespace, of)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "immutable": True, "data": dict(manifests)},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": where, "spec": spec},
        policy("evento-deploy", options.namespace, of, pods=of, egress=[to_names(), to_api]),
    ]


def _digest(texts: Mapping[str, str]) -> str:
    content = "\0".join(f"{name}\0{text}" for name, text in sorted(texts.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]
