"""What is rendered is valid, admitted by "restricted" Pod Security, closed by default, and the same each time."""

from typing import Any

import kubernetes_validate
import pytest
from rendered import DIGEST, KEY, OPTIONS, SHOP, everything, files, of_kind, one, rendered_of, text

from evento.errors import DeploymentRefused
from evento.kubernetes import Options, with_images
from evento.kubernetes.rendering import MANIFESTS_BYTES_MAX
from evento.registry.deployment import plan_afresh
from evento.registry.documents import documents_of
from evento.registry.yaml_reader import read_yaml

VERSIONS = ("1.30", kubernetes_validate.latest_version())  # the oldest with all that is used, and the newest that is published
OURS = "evento.dev/v1"
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def name_of(each: dict[str, Any]) -> str:
    return f"{each['kind']}-{each['metadata'].get('namespace', '')}-{each['metadata']['name']}"


def templates() -> list[dict[str, Any]]:
    return [each["spec"]["template"] for kind in WORKLOADS for each in of_kind(kind)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_by_the_published_schemas(version: str) -> None:
    """Strictly: a field that Kubernetes does not know is a mistake."""
    known = [each for each in everything() if each["apiVersion"] != OURS]
    assert len(known) > 30
    for each in known:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_field_too_many_would_be_seen() -> None:
    broken = {**one("Deployment", "till"), "spec": {**one("Deployment", "till")["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_all_names_differ() -> None:
    names = [name_of(each) for each in everything()]
    assert len(names) == len(set(names))


def test_the_kinds_that_are_rendered() -> None:
    found = {each["kind"] for each in everything()}
    assert found == {
        *("CustomResourceDefinition", "Namespace", "ServiceAccount", "ConfigMap", "Service", "StatefulSet", "Deployment", "Job"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "Entity", "Event", "Command", "Function"),
    }


def test_every_pod_is_restricted() -> None:
    assert len(templates()) == 5
    for template in templates():
        pod = template["spec"]
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        allowed = {"emptyDir", "configMap", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"memory", "cpu", "ephemeral-storage"} <= set(container["resources"]["limits"])
            assert not any("hostPort" in port for port in container.get("ports", ()))
    for namespace in of_kind("Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_function_may_use_what_it_says_and_asks_for_no_more() -> None:
    found = {name: one("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["resources"] for name in ("till", "shelf")}
    assert found["till"]["limits"] == {"cpu": "1000m", "memory": "512Mi", "ephemeral-storage": "256Mi"}
    assert found["till"]["requests"] == {"cpu": "100m", "memory": "512Mi"}
    assert found["shelf"]["limits"] == {"cpu": "50m", "memory": "2048Mi", "ephemeral-storage": "256Mi"}
    assert found["shelf"]["requests"] == {"cpu": "50m", "memory": "2048Mi"}


def test_an_image_is_pulled_always_if_that_is_said_and_else_as_the_cluster_does() -> None:
    found = {name: one("Deployment", name)["spec"]["template"]["spec"]["containers"][0] for name in ("till", "shelf")}
    assert found["shelf"]["imagePullPolicy"] == "Always" and "imagePullPolicy" not in found["till"]


def test_every_account_is_without_a_token_and_is_there() -> None:
    accounts = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in of_kind("ServiceAccount")}
    assert all(each["automountServiceAccountToken"] is False for each in of_kind("ServiceAccount"))
    for kind in WORKLOADS:
        for each in of_kind(kind):
            assert (each["metadata"]["namespace"], each["spec"]["template"]["spec"]["serviceAccountName"]) in accounts


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def test_selectors_select_the_pods_that_they_are_for() -> None:
    for kind in ("Deployment", "StatefulSet"):
        for each in of_kind(kind):
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert matches(each["spec"]["selector"], labels)
            others = [other for other in templates() if other is not each["spec"]["template"]]
            assert not any(matches(each["spec"]["selector"], other["metadata"]["labels"]) for other in others)
    for service in of_kind("Service"):
        found = [
            each for each in templates() if set(service["spec"]["selector"].items()) <= set(each["metadata"]["labels"].items())
        ]
        assert len(found) == 1
        ports = {port["name"] for port in found[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind("PodDisruptionBudget"):
        assert sum(matches(budget["spec"]["selector"], each["metadata"]["labels"]) for each in templates()) == 1


# ------------------------------------------------------------------ the network
class World:
    """What the policies let through, by the rules of NetworkPolicy: a pod that one selects is open only to what one lists."""

    def __init__(self, policies: list[dict[str, Any]]) -> None:
        self.policies = policies

    def lets(self, source: tuple[str, dict[str, str]], target: tuple[str, dict[str, str]], port: int) -> bool:
        return self._open("egress", "to", source, target, port) and self._open("ingress", "from", target, source, port)

    def _open(
        self, direction: str, word: str, subject: tuple[str, dict[str, str]], peer: tuple[str, dict[str, str]], port: int
    ) -> bool:
        own = [
            each["spec"]
            for each in self.policies
            if each["metadata"]["namespace"] == subject[0] and matches(each["spec"]["podSelector"], subject[1])
        ]
        rules = [rule for spec in own for rule in spec[direction]]
        return not own or any(self._rule(rule, word, peer, port) for rule in rules)

    def _rule(self, rule: dict[str, Any], word: str, peer: tuple[str, dict[str, str]], port: int) -> bool:
        on_port = port in [each["port"] for each in rule["ports"]]
        return on_port and (word not in rule or any(self._peer(each, peer) for each in rule[word]))

    def _peer(self, each: dict[str, Any], peer: tuple[str, dict[str, str]]) -> bool:
        if "ipBlock" in each:  # of pods in a cluster it says nothing certain
            return False
        namespace = {"kubernetes.io/metadata.name": peer[0]}
        return matches(each["namespaceSelector"], namespace) and matches(each["podSelector"], peer[1])


def pod_of(kind: str, name: str) -> tuple[str, dict[str, str]]:
    each = one(kind, name)
    return each["metadata"]["namespace"], each["spec"]["template"]["metadata"]["labels"]


def test_only_the_node_reaches_functions_and_functions_reach_nobody() -> None:
    world = World(of_kind("NetworkPolicy"))
    node, till, shelf = pod_of("StatefulSet", "evento"), pod_of("Deployment", "till"), pod_of("Deployment", "shelf")
    bank, stranger = pod_of("Deployment", "bank-functions"), ("shop", {"app": "stranger"})
    for function in (till, shelf, bank):
        assert world.lets(node, function, 8080)
        for other in (till, shelf, bank, stranger, ("evento", {"app": "stranger"}), ("other", node[1])):
            assert not world.lets(other, function, 8080)
        for target in (node, stranger, ("kube-system", {"k8s-app": "kube-dns"})):
            assert not any(world.lets(function, target, port) for port in (53, 80, 443, 7070, 8080))
    assert world.lets(stranger, ("shop", {"app": "other"}), 80), "pods that are not Evento's are left as they are"


def test_the_api_is_reached_by_who_is_labelled_and_by_the_job() -> None:
    world = World(of_kind("NetworkPolicy"))
    node = pod_of("StatefulSet", "evento")
    (job,) = of_kind("Job")
    deploys = ("evento", job["spec"]["template"]["metadata"]["labels"])
    assert world.lets(deploys, node, 7070)
    assert world.lets(("anywhere", {"evento.dev/client": "true"}), node, 7070)
    for stranger in (("evento", {"app": "stranger"}), ("shop", {}), pod_of("Deployment", "till")):
        assert not world.lets(stranger, node, 7070)
    assert not world.lets(("anywhere", {"evento.dev/client": "true"}), node, 22)


def test_functions_elsewhere_are_reached_on_their_ports_alone_and_metadata_never() -> None:
    (rule,) = (
        each for each in one("NetworkPolicy", "evento")["spec"]["egress"] if any("ipBlock" in to for to in each.get("to", ()))
    )
    assert [port["port"] for port in rule["ports"]] == [443, 8081]
    assert any("169.254.0.0/16" in to["ipBlock"]["except"] for to in rule["to"])
    without = rendered_of(documents_of([each for each in SHOP if "rates" not in str(each) and "Shelf" not in str(each)]))
    policies = [each for each in without["1-evento.yaml"] if each["kind"] == "NetworkPolicy"]
    assert "ipBlock" not in str(policies)


# ------------------------------------------------------------------ functions
def test_scale_becomes_replicas_or_an_autoscaler() -> None:
    scaled = one("HorizontalPodAutoscaler", "till")["spec"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 9)
    assert scaled["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert "replicas" not in one("Deployment", "till")["spec"], "else each apply would undo what the autoscaler did"
    assert one("Deployment", "shelf")["spec"]["replicas"] == 3
    assert one("Deployment", "bank-functions")["spec"]["replicas"] == 1, "from zero is not what an autoscaler can do"
    assert [each["metadata"]["name"] for each in of_kind("HorizontalPodAutoscaler")] == ["till"]


def test_a_function_is_told_where_to_listen_who_may_call_and_what_it_is() -> None:
    (container,) = one("Deployment", "till")["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"]}
    assert told == {"MODE": "no", "HOST": "0.0.0.0", "PORT": "8080", "EVENTO_FUNCTION_KEYS": KEY, "EVENTO_REVISION": DIGEST}  # noqa: S104
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/evento/health"
    slow = one("Deployment", "shelf")["spec"]["template"]["spec"]
    startup = slow["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 600
    assert slow["terminationGracePeriodSeconds"] >= 65
    assert "EVENTO_REVISION" not in str(slow)


def test_without_a_key_nothing_is_signed_or_asked_for() -> None:
    unsigned = str(rendered_of(documents_of(SHOP), Options(namespace="e", image="evento:1", storage="1Gi")))
    assert "EVENTO_FUNCTION_KEYS" not in unsigned and "evento-signing-key" not in unsigned and "SIGNING" not in unsigned


def test_the_private_key_is_mounted_and_rendered_nowhere() -> None:
    pod = one("StatefulSet", "evento")["spec"]["template"]["spec"]
    assert {"name": "signing", "secret": {"secretName": "evento-signing-key", "defaultMode": 0o440}} in pod["volumes"]
    settings = one("ConfigMap", "evento-settings")["data"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert settings["EVENTO_SIGNING_KEY"] == f"{mounts['signing']}/signing.pem"
    assert "PRIVATE" not in text() and not of_kind("Secret")


# ------------------------------------------------------------------ the node
def test_the_settings_are_settings() -> None:
    from evento.settings import read_settings

    settings = read_settings(one("ConfigMap", "evento-settings")["data"])
    assert (settings.host, settings.port, settings.data) == ("0.0.0.0", 7070, "/var/lib/evento")  # noqa: S104
    pod = one("StatefulSet", "evento")["spec"]["template"]["spec"]
    assert settings.data in [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]]
    assert pod["terminationGracePeriodSeconds"] > 2 * settings.shutdown_s


def test_one_pod_alone_has_the_disk() -> None:
    spec = one("StatefulSet", "evento")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert one("Service", spec["serviceName"])["spec"]["clusterIP"] == "None"


def test_what_is_deployed_to_the_node_is_sound_and_reaches_the_functions() -> None:
    (job,) = of_kind("Job")
    config = one("ConfigMap", job["metadata"]["name"])
    assert sorted(config["data"]) == ["bank.yaml", "shop.yaml"] and config["immutable"]
    deployed = [document.value for content in config["data"].values() for document in read_yaml(content)]
    plan = plan_afresh(documents_of(deployed))
    assert not plan.problems
    functions = {each.name: each.function for each in plan.declared if each.function is not None}
    urls = {name: function.url for name, function in functions.items()}
    assert urls["till"] == "http://till.shop.svc" and urls["bank-functions"] == "http://bank-functions.bank.svc"
    assert urls["rates"] == "https://rates.example.com/v1"
    assert (functions["shelf"].timeout_s, functions["shelf"].start_s) == (60, 600)
    asked = plan_afresh(documents_of([{**each} for each in SHOP]))
    schemas = {each.title: each.schema for each in asked.declared if each.schema is not None}
    found = {each.title: each.schema for each in plan.declared if each.schema is not None}
    assert schemas.items() <= found.items(), "no default, no symbol and no text is another one after its way through YAML"


def test_other_content_is_another_job_and_the_same_is_the_same() -> None:
    def job(documents: list[dict[str, Any]], options: Options = OPTIONS) -> str:
        (found,) = (each for each in rendered_of(documents_of(documents), options)["1-evento.yaml"] if each["kind"] == "Job")
        return str(found["metadata"]["name"])

    longer = [{**each, "spec": {**each["spec"], "timeout": "7s"}} if each["metadata"]["name"] == "rates" else each for each in SHOP]
    assert job(SHOP) == job(list(reversed(SHOP))) != job(longer)
    assert job(SHOP) != job(SHOP, Options(namespace="evento", image="evento:2", storage="1Gi"))


def test_the_order_of_the_input_does_not_matter() -> None:
    assert rendered_of(documents_of(SHOP)) == rendered_of(documents_of(list(reversed(SHOP))))


def test_files_are_applied_in_the_order_of_their_names() -> None:
    assert list(files()) == sorted(files())
    first = {name: [each["kind"] for each in objects] for name, objects in files().items()}
    assert set(first["0-definitions.yaml"]) == {"CustomResourceDefinition"}
    assert all(kinds[0] == "Namespace" for name, kinds in first.items() if name != "0-definitions.yaml")


# ------------------------------------------------------------------ refusals
def test_what_cannot_run_in_a_cluster_is_refused_with_what_to_do() -> None:
    local = {**SHOP[0], "spec": {"command": ["./till"], "directory": "/tmp", "files": ["nothing*"]}}
    documents = documents_of([local, *SHOP[1:]])
    declared = plan_afresh(with_images(documents, {"shop/till": "till:2"})).declared
    assert next(each.function.image for each in declared if each.function and each.name == "till") == "till:2"
    with pytest.raises(DeploymentRefused, match="there is no Function shop/tills here"):
        with_images(documents, {"shop/tills": "till:2"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(namespace="shop", image="evento:1", storage="1Gi"), "the namespace shop is that of Evento's own node"),
        (Options(namespace="Evento", image="evento:1", storage="1Gi"), "--namespace must match"),
        (Options(namespace="evento", image="evento:1", storage="1 GB"), "--storage must match"),
        (Options(namespace="evento", image="", storage="1Gi"), "--node-image must match"),
    ],
)
def test_options_that_make_no_valid_objects_are_refused(options: Options, message: str) -> None:
    with pytest.raises(DeploymentRefused, match=message):
        rendered_of(documents_of(SHOP), options)


def test_more_manifests_than_fit_are_refused() -> None:
    doc = "d" * (MANIFESTS_BYTES_MAX // 20)
    many = [
        {
            **SHOP[5],
            "metadata": {"name": f"TestBegun{n}", "namespace": "shop"},
            "spec": {"entity": "ABTest", "schema": long(n, doc)},
        }
        for n in range(21)
    ]
    with pytest.raises(DeploymentRefused, match="more than a ConfigMap holds"):
        rendered_of(documents_of([*SHOP, *many]))


def long(number: int, doc: str) -> dict[str, Any]:
    return {"type": "record", "name": f"TestBegun{number}", "doc": doc, "fields": []}
