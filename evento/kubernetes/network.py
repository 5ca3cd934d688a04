"""Who may speak to whom: nobody may but who stands here. A function hears Evento's node, and reaches nobody; it is pure anyway."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from evento.kubernetes.options import Object
from evento.kubernetes.pods import metadata

CLIENT_LABEL = "evento.dev/client"  # on pods that may speak to the API, in any namespace
_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
# Everywhere but where clouds tell a machine its credentials: link-local addresses, and the one of IPv6.
_ANYWHERE = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128"]}},
]


def policy(
    name: str,
    namespace: str,
    of: Mapping[str, str],
    *,
    pods: Mapping[str, str],
    ingress: Sequence[Object] = (),
    egress: Sequence[Object] = (),
) -> Object:
    """Return a policy: of these pods, nothing comes in or goes out but what is listed."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, namespace, of),
        "spec": {
            "podSelector": {"matchLabels": dict(pods)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(ingress),
            "egress": list(egress),
        },
    }


def deny_all(namespace: str, of: Mapping[str, str]) -> Object:
    """Return the policy below all others: Evento's pods in a namespace, and no other ones, are shut."""
    return policy("evento-deny-all", namespace, of, pods={"app.kubernetes.io/part-of": "evento"})


def pods_in(namespace: str, of: Mapping[str, str]) -> Object:
    """Return a peer: pods with these labels in one namespace."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": dict(of)},
    }


def clients() -> Object:
    """Return the peer that may speak to the API."""
    return {"namespaceSelector": {}, "podSelector": {"matchLabels": {CLIENT_LABEL: "true"}}}


def on_port(port: int) -> Sequence[Object]:
    """Return a rule's ports."""
    return [{"protocol": "TCP", "port": port}]


def to_functions(port: int) -> Object:
    """Return the rule that lets a node reach every function that was rendered."""
    component = {"app.kubernetes.io/component": "function", "app.kubernetes.io/part-of": "evento"}
    return {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": component}}], "ports": on_port(port)}


def to_names() -> Object:
    """Return the rule that lets a pod resolve names, wherever the cluster's resolver is."""
    return _DNS


def to_urls(urls: Sequence[str]) -> Sequence[Object]:
    """Return the rules that let a node reach functions which others run, by port: policies know no names."""
    parts = [urlsplit(url) for url in urls]
    ports = sorted({part.port or (443 if part.scheme == "https" else 80) for part in parts})
    return [{"to": _ANYWHERE, "ports": [each for port in ports for each in on_port(port)]}] if ports else []
