"""One Function that is an image: a Deployment behind a Service, scaled by its load, closed to all but Evento's node."""

from math import ceil

from evento.kubernetes.network import on_port, pods_in, policy
from evento.kubernetes.options import Object, Options
from evento.kubernetes.pods import PRE_STOP_S, Container, labels, metadata, pod, probe, service_account
from evento.model.resources import FunctionSpec, Resources, Scale
from evento.protocol.envelope import HEALTH_PATH

PORT = 8080
SERVICE_PORT = 80
NODE = "evento"  # the name of Evento's own node and of its account
_DRAIN_S = 30  # that the SDK takes to finish what is under way
_PROBE_S = 2
_CPU_PERCENT = 75  # of what a replica asked for, before there are more
_STABLE_S_MAX = 3600  # the cluster's limit
_REPLICAS_MIN = 1  # an autoscaler does not go lower: nothing would be there to be measured


def url_of(function: FunctionSpec) -> str:
    """Return where Evento's node reaches a function in the cluster."""
    return f"http://{function.name}.{function.namespace}.svc"


def function_objects(function: FunctionSpec, options: Options) -> list[Object]:
    """Return the objects that run one function."""
    of, scale = labels(function.name, "function"), function.scale or Scale()
    least = max(scale.least, _REPLICAS_MIN)
    objects = [
        service_account(function.name, function.namespace, of),
        _service(function, of),
        _deployment(function, options, of, replicas=least if least >= scale.most else None),
        _disruption_budget(function, of),
        policy(
            function.name,
            function.namespace,
            of,
            pods=of,
            ingress=[{"from": [pods_in(options.namespace, labels(NODE, "node"))], "ports": on_port(PORT)}],
        ),
    ]
    return objects if least >= scale.most else [*objects, _autoscaler(function, of, scale)]


def _service(function: FunctionSpec, of: dict[str, str]) -> Object:
    port = {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(function.name, function.namespace, of),
        "spec": {"type": "ClusterIP", "selector": of, "ports": [port]},
    }


def _deployment(function: FunctionSpec, options: Options, of: dict[str, str], *, replicas: int | None) -> Object:
    start_s = ceil(function.start_s)
    container = Container(
        image=function.image,
        pull_always=function.pull_always,
        resources=function.resources or Resources(),
        env=_environment(function, options),
        port=PORT,
        probes={
            "startupProbe": probe(HEALTH_PATH, every_s=_PROBE_S, failures=max(1, ceil(start_s / _PROBE_S))),
            "readinessProbe": probe(HEALTH_PATH, every_s=_PROBE_S, failures=1),
            "livenessProbe": probe(HEALTH_PATH, every_s=10, failures=max(3, ceil(function.timeout_s / 10) + 1)),
        },
    )
    ending_s = PRE_STOP_S + max(_DRAIN_S, ceil(function.timeout_s))
    spec = {
        "selector": {"matchLabels": of},
        # A new version is ready before an old one goes, and both answer meanwhile.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "progressDeadlineSeconds": start_s + 60,
        "template": pod(function.name, container, of, terminationGracePeriodSeconds=ending_s),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(function.name, function.namespace, of),
        "spec": spec if replicas is None else {"replicas": replicas, **spec},
    }


def _environment(function: FunctionSpec, options: Options) -> list[Object]:
    """Return what the function asked for, and over it what the protocol and the platform tell it."""
    told = {"HOST": "0.0.0.0", "PORT": str(PORT)}  # noqa: S104 - a pod has an address of its own, and a policy in front
    if options.public_key:
        told["EVENTO_FUNCTION_KEYS"] = options.public_key
    if function.revision:
        told["EVENTO_REVISION"] = function.revision
    return [{"name": name, "value": value} for name, value in sorted({**function.env, **told}.items())]


def _disruption_budget(function: FunctionSpec, of: dict[str, str]) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(function.name, function.namespace, of),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": of}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }


def _autoscaler(function: FunctionSpec, of: dict[str, str], scale: Scale) -> Object:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(function.name, function.namespace, of),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": function.name},
            "minReplicas": max(scale.least, _REPLICAS_MIN),
            "maxReplicas": scale.most,
            "metrics": [{"type": "Resource", "resource": cpu}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": min(_STABLE_S_MAX, ceil(scale.idle_s))}},
        },
    }
