"""Whatever the manifest and the split: valid objects that fit together."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kube_schemas import VERSIONS, errors_of, pod_of

from mlg.core.errors import ManifestError
from mlg.core.predict import ServingPolicy
from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_services import CanarySpec, ResourcesSpec, RolloutSpec, ServiceSpec
from mlg.render.inputs import Cluster, Rendering, RunningService, RunningVersion, cluster_of
from mlg.render.kubernetes import ROUTES, SETTINGS, WORKLOADS, render
from mlg.render.pods import GRACE_S, PRE_STOP_S
from mlg.render.text import yaml_text

DIGEST = "ab" * 32
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True)
LABELS = st.from_regex(r"[0-9a-f]{12}(~control)?", fullmatch=True)


def service(
    *versions: tuple[str, int], name: str = "home", model: str = "ranker", **spec: Any
) -> RunningService:
    return RunningService(
        name=name,
        spec=ServiceSpec(model=model, **spec),
        policy=ServingPolicy(service=name, version="3", abstain_below=0.35),
        versions=tuple(
            RunningVersion(
                version=version,
                bp=bp,
                image=f"registry.example.com/ranker@sha256:{DIGEST}",
                artifact=DIGEST,
                signature='{"a": 1}',
            )
            for version, bp in versions
        ),
    )


@st.composite
def running(draw: st.DrawFn) -> RunningService:
    labels = draw(st.lists(LABELS, min_size=1, max_size=6, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, FULL_BP), min_size=len(labels) - 1,
                                max_size=len(labels) - 1)))  # fmt: skip
    bounds = [0, *cuts, FULL_BP]
    shares = [high - low for low, high in itertools.pairwise(bounds)]
    signed = draw(st.booleans())
    resources = draw(
        st.none()
        | st.builds(
            ResourcesSpec,
            cpu=st.none() | st.floats(0.001, 128),
            memory_bytes=st.none() | st.integers(1, 2**42),
        )
    )
    one = service(
        *zip(labels, shares, strict=True),
        name=draw(NAMES),
        model=draw(NAMES),
        replicas=draw(st.integers(1, 1_000)),
        clock=draw(st.sampled_from(["system", "request"])),
        resources=resources,
        rollout=draw(st.none() | st.just(RolloutSpec(canary=CanarySpec(sticky="session")))),
    )
    unsigned = tuple(replace(version, signature="") for version in one.versions)
    return one if signed else replace(one, versions=unsigned)


SERVICES = st.lists(running(), min_size=1, max_size=3, unique_by=lambda one: one.name)
CLUSTERS = st.builds(
    Cluster,
    project=NAMES,
    namespace=st.sampled_from(["", "recs"]),
    gateway_namespace=st.sampled_from(["", "edge"]),
    proxies_namespace=st.sampled_from(["", "envoy-gateway-system"]),
    trusted_keys=st.sampled_from(["", "-----BEGIN PUBLIC KEY-----\nx\n-----END-----\n"]),
    env=st.just((("OMP_NUM_THREADS", "1"),)),
)


def of_kind(rendering: Rendering, kind: str) -> list[dict[str, Any]]:
    return [one for one in rendering.objects if one["kind"] == kind]


def named(rendering: Rendering, kind: str, name: str) -> dict[str, Any]:
    return next(o for o in of_kind(rendering, kind) if o["metadata"]["name"] == name)


@settings(max_examples=60, deadline=None)
@given(CLUSTERS, SERVICES)
def test_every_object_keeps_the_real_schema_and_they_fit_together(
    cluster: Cluster, services: list[RunningService]
) -> None:
    rendering = render(cluster, services)
    for version in VERSIONS:
        told = {
            (o["kind"], o["metadata"]["name"]): errors
            for o in rendering.objects
            if (errors := errors_of(o, version))
        }
        assert told == {}
    _check_names(rendering, cluster)
    _check_workloads(rendering)
    _check_routes(rendering, services)


def _check_names(rendering: Rendering, cluster: Cluster) -> None:
    names = Counter((o["kind"], o["metadata"]["name"]) for o in rendering.objects)
    assert set(names.values()) == {1}
    for _, name in names:
        assert len(name) <= 63
        assert name[0].isalpha()
        assert name[-1].isalnum()
        assert all(c.isdigit() or "a" <= c <= "z" or c == "-" for c in name)
    for one in rendering.objects:
        assert one["metadata"].get("namespace", "") == cluster.namespace
        labels = one["metadata"]["labels"]
        assert all(0 < len(value) <= 63 for value in labels.values())


def _check_workloads(rendering: Rendering) -> None:
    deployments = of_kind(rendering, "Deployment")
    names = {one["metadata"]["name"] for one in deployments}
    for one in deployments:
        wanted = one["spec"]["selector"]["matchLabels"].items()
        labels = one["spec"]["template"]["metadata"]["labels"].items()
        assert wanted <= labels
        # no other workload's pods are taken for its own
        assert [
            other["metadata"]["name"]
            for other in deployments
            if wanted <= other["spec"]["template"]["metadata"]["labels"].items()
        ] == [one["metadata"]["name"]]
        service_ = named(rendering, "Service", one["metadata"]["name"])
        assert service_["spec"]["selector"].items() == wanted
        pod = pod_of(one)
        ports = {port["name"] for port in pod["containers"][0]["ports"]}
        assert service_["spec"]["ports"][0]["targetPort"] in ports
        _check_rolling(one, named(rendering, "PodDisruptionBudget", one["metadata"]["name"]))
        _check_volumes(rendering, pod)
    scaled = {
        o["spec"]["scaleTargetRef"]["name"]
        for o in of_kind(rendering, "HorizontalPodAutoscaler")
    }
    assert scaled <= names
    for one in deployments:  # one of them says how many, never both and never neither
        assert ("replicas" in one["spec"]) != (one["metadata"]["name"] in scaled)


def _check_rolling(deployment: dict[str, Any], budget: dict[str, Any]) -> None:
    """An update goes on and a node can be emptied, whatever the number of pods."""
    rolling = deployment["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxSurge"] + rolling["maxUnavailable"] >= 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert "minAvailable" not in budget["spec"]
    assert budget["spec"]["maxUnavailable"] >= 1


def _check_volumes(rendering: Rendering, pod: dict[str, Any]) -> None:
    """What is mounted is there: rendered here, or named in a note."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    there = {o["metadata"]["name"] for o in of_kind(rendering, "ConfigMap")}
    maps = [v["configMap"]["name"] for v in volumes.values() if "configMap" in v]
    projected = volumes["keys"]["projected"]["sources"]
    maps += [source["configMap"]["name"] for source in projected if "configMap" in source]
    secrets = [source["secret"]["name"] for source in projected if "secret" in source]
    said = " ".join(rendering.notes).split()
    assert all(name in there or name in said for name in maps)
    assert all(name in said for name in secrets)


def _check_routes(rendering: Rendering, services: list[RunningService]) -> None:
    routes = {
        o["metadata"]["annotations"]["mlg.service"]: o for o in of_kind(rendering, "HTTPRoute")
    }
    assert routes.keys() == {one.name for one in services}
    weights_of = {
        o["metadata"]["name"]: o["metadata"]["annotations"]
        for o in of_kind(rendering, "Service")
    }
    paths: list[str] = []
    for one in services:
        (rule,) = routes[one.name]["spec"]["rules"]
        found = {
            weights_of[backend["name"]]["mlg.version"]: backend["weight"]
            for backend in rule["backendRefs"][:-1]
        }
        assert found == {version.version: version.bp for version in one.versions}
        assert sum(backend["weight"] for backend in rule["backendRefs"]) == 10_000
        assert rule["backendRefs"][-1]["weight"] == 0  # the popularity list
        paths += [match["path"]["value"] for match in rule["matches"]]
    assert len(paths) == len(set(paths))
    assert {f"/v1/services/{one.name}" for one in services} <= set(paths)
    assert {f"/v2/models/{one.model}" for one in services} <= set(paths)


@settings(max_examples=5, deadline=None)
@given(CLUSTERS, running())
def test_the_text_reads_back_as_the_same_objects_in_yaml_1_1(
    cluster: Cluster, one: RunningService
) -> None:
    objects = list(render(cluster, [one]).objects)
    assert list(yaml.load_all(yaml_text(objects), yaml.CSafeLoader)) == objects


@settings(max_examples=30, deadline=None)
@given(CLUSTERS, SERVICES)
def test_the_order_of_the_services_changes_nothing(
    cluster: Cluster, services: list[RunningService]
) -> None:
    assert render(cluster, services) == render(cluster, services[::-1])


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=40), max_size=5))
def test_any_text_of_an_object_survives_yaml_1_1(data: dict[str, str]) -> None:
    ours = {"kind": "ConfigMap", "data": data}
    assert yaml.safe_load(yaml_text([ours])) == ours


WORDS = ["on", "No", "y", "12e4", "0x1f", "1_0", "~", "null", "", " a", "2026-11-25"]
LINES = ["a\n", "a\nb\n", "a\n\n", " a\nb\n"]


@pytest.mark.parametrize("word", [*WORDS, *LINES])
def test_words_that_yaml_takes_for_something_else_stay_text(word: str) -> None:
    assert yaml.safe_load(yaml_text([{"a": word, word: 1}])) == {"a": word, word: 1}


def test_pods_keep_the_restricted_standard() -> None:
    """The controls of the Pod Security Standard `restricted`, one by one."""
    services = [service(("3f2a90c1d2e4", 9_900), ("77b0c1d2e4aa", 100))]
    for with_kserve in (False, True):
        rendering = render(Cluster(project="movies"), services, with_kserve=with_kserve)
        pods = [
            pod_of(o)
            for o in rendering.objects
            if o["kind"] in {"Deployment", "InferenceService"}
        ]
        assert pods
        for pod in pods:
            assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
            allowed = {"configMap", "emptyDir", "projected", "secret"}
            assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
            for container in pod["containers"]:
                security = container["securityContext"]
                assert security["allowPrivilegeEscalation"] is False
                assert security["privileged"] is False
                assert security["runAsNonRoot"] is True
                assert security["runAsUser"] != 0
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert security["seccompProfile"] == {"type": "RuntimeDefault"}
                assert security["readOnlyRootFilesystem"] is True
                assert not any("hostPort" in port for port in container["ports"])
            assert pod["automountServiceAccountToken"] is False


def test_a_pod_that_ends_answers_until_gateways_know_and_then_drains() -> None:
    from mlg.serving import server

    rendering = render(Cluster(project="movies"), [service(("3f2a90c1d2e4", 10_000))])
    pod = pod_of(of_kind(rendering, "Deployment")[0])
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": PRE_STOP_S}}}
    assert pod["terminationGracePeriodSeconds"] == GRACE_S
    assert GRACE_S >= PRE_STOP_S + server._DRAIN_S + 5


def test_versions_that_are_warm_or_a_control_have_workloads_and_their_weights() -> None:
    split = [
        ("3f2a90c1d2e4", 9_900),
        ("3f2a90c1d2e4~control", 50),
        ("77b0c1d2e4aa", 50),
        ("0011aabbccdd", 0),
    ]
    rendering = render(Cluster(project="movies"), [service(*split)])
    (rule,) = of_kind(rendering, "HTTPRoute")[0]["spec"]["rules"]
    assert [backend["weight"] for backend in rule["backendRefs"]] == [9_900, 50, 50, 0, 0]
    args = [pod_of(one)["containers"][0]["args"] for one in of_kind(rendering, "Deployment")]
    control = args[1]
    assert control[control.index("--version") + 1] == "3f2a90c1d2e4"
    assert control[control.index("--arm") + 1] == "3f2a90c1d2e4~control"
    assert "--arm" not in args[0]
    # one signature a model, however many groups of replicas serve it
    assert sorted(o["metadata"]["name"] for o in of_kind(rendering, "ConfigMap")) == [
        "movies-home-0011aabbccdd-signature",
        "movies-home-3f2a90c1d2e4-signature",
        "movies-home-77b0c1d2e4aa-signature",
        "movies-home-policy",
    ]
    assert any("viewers do not stay" in note for note in rendering.notes)


def test_the_policy_is_the_live_one_as_a_replica_reads_it() -> None:
    rendering = render(Cluster(project="movies"), [service(("3f2a90c1d2e4", 10_000))])
    text = named(rendering, "ConfigMap", "movies-home-policy")["data"]["policy.json"]
    assert msgspec.json.decode(text, type=ServingPolicy) == ServingPolicy(
        service="home", version="3", abstain_below=0.35
    )


def test_nothing_reaches_the_pods_but_the_gateway_on_their_port() -> None:
    cluster = cluster_of("recs", "edge/public", "")
    rendering = render(replace(cluster, project="movies"), [service(("3f2a90c1d2e4", 10_000))])
    deny, viewers = of_kind(rendering, "NetworkPolicy")
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny["spec"].keys()
    (rule,) = viewers["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert rule["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}},
            "podSelector": {
                "matchLabels": {"gateway.networking.k8s.io/gateway-name": "public"}
            },
        }
    ]
    for policy in (deny, viewers):
        chosen = policy["spec"]["podSelector"]["matchLabels"].items()
        for one in of_kind(rendering, "Deployment"):
            assert chosen <= one["spec"]["template"]["metadata"]["labels"].items()


def test_proxies_that_run_elsewhere_are_let_in_by_their_namespace() -> None:
    cluster = replace(cluster_of("", "public", "envoy-gateway-system"), project="movies")
    rendering = render(cluster, [service(("3f2a90c1d2e4", 10_000))])
    (rule,) = of_kind(rendering, "NetworkPolicy")[1]["spec"]["ingress"]
    label = {"kubernetes.io/metadata.name": "envoy-gateway-system"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": label}}]


def test_files_are_in_the_order_in_which_they_are_applied() -> None:
    rendering = render(Cluster(project="movies"), [service(("3f2a90c1d2e4", 10_000))])
    kinds = {name: {o["kind"] for o in objects} for name, objects in rendering.files}
    assert list(kinds) == sorted(kinds) == [SETTINGS, WORKLOADS, ROUTES]
    assert kinds[ROUTES] == {"HTTPRoute"}
    assert "Deployment" in kinds[WORKLOADS]
    assert "ConfigMap" in kinds[SETTINGS]


def test_more_versions_than_a_route_can_name_are_refused() -> None:
    versions = [(f"{n:012x}", 10_000 if n == 0 else 0) for n in range(16)]
    with pytest.raises(ManifestError, match="room for 15"):
        render(Cluster(project="movies"), [service(*versions)])
    render(Cluster(project="movies"), [service(*versions[:15])])


def test_of_two_services_with_one_model_the_first_has_the_models_path() -> None:
    services = [service(("3f2a90c1d2e4", 10_000), name=name) for name in ("search", "home")]
    rendering = render(Cluster(project="movies"), services)
    paths = {
        o["metadata"]["name"]: [m["path"]["value"] for m in o["spec"]["rules"][0]["matches"]]
        for o in of_kind(rendering, "HTTPRoute")
    }
    assert paths == {
        "movies-home": ["/v1/services/home", "/v2/models/ranker", "/v2/health"],
        "movies-search": ["/v1/services/search"],
    }


def test_a_signature_that_no_configmap_holds_is_refused() -> None:
    one = service(("3f2a90c1d2e4", 10_000))
    (version,) = one.versions
    large = replace(one, versions=(replace(version, signature="x" * 1_000_001),))
    with pytest.raises(ManifestError, match="which no ConfigMap holds"):
        render(Cluster(project="movies"), [large])


def test_a_service_whose_shares_do_not_add_up_cannot_be() -> None:
    with pytest.raises(ValueError, match="sum to 10000"):
        service(("3f2a90c1d2e4", 9_999))
