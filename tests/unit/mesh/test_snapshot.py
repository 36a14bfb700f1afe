import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.traffic import (
    FULL_BP,
    Endpoint,
    ServiceEndpoints,
    Share,
    TrafficSplit,
    VersionEndpoints,
    arm_of,
)
from mlg.mesh.listener import bootstrap, listener
from mlg.mesh.resources import HEALTH_PATH, assignment
from mlg.mesh.snapshot import (
    MeshState,
    beside,
    discovery_file,
    render,
    shares_in_hash_order,
)


def at(port: int) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port)


def home(*versions: str, stable: str | None = None, model: str = "ranker") -> ServiceEndpoints:
    return ServiceEndpoints(
        service="home",
        versions=tuple(
            VersionEndpoints(version=v, endpoints=(at(100 + 10 * n), at(101 + 10 * n)))
            for v in versions
            for n in [int(v[1:])]
        ),
        stable=stable,
        fallback=(at(99),),
        timeout_ms=1_500,
        per_try_timeout_ms=250,
        model=model,
    )  # fmt: skip


def split(**shares: int) -> TrafficSplit:
    return TrafficSplit(
        service="home", shares=tuple(Share(version=v, bp=bp) for v, bp in shares.items())
    )


def ports(resource: dict, priority: int) -> list[int]:
    return [
        host["endpoint"]["address"]["socket_address"]["port_value"]
        for locality in resource["endpoints"]
        if locality["priority"] == priority
        for host in locality["lb_endpoints"]
    ]


def route_of(state: MeshState, key: str, value: str) -> dict:
    routes = render(state, folder="x").routes["virtual_hosts"][0]["routes"]
    return next(r for r in routes if r["match"].get(key) == value)


def test_priorities_are_the_version_then_the_stable_one_then_popularity() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1"))
    files = dict(render(state, folder="x").assignments)
    assert sorted(files) == ["home@fallback", "home@v1", "home@v2"]
    assert [ports(files["home@v2"], n) for n in range(3)] == [[120, 121], [110, 111], [99]]
    assert [ports(files["home@v1"], n) for n in range(3)] == [[110, 111], [99], []]
    assert [ports(files["home@fallback"], n) for n in range(2)] == [[99], [110, 111]]


def test_one_healthy_replica_keeps_its_priority_whole() -> None:
    # Envoy's rule: a priority takes min(100, factor * healthy / all) percent
    factor = assignment("home@v1", [[at(1)]])["policy"]["overprovisioning_factor"]
    assert min(100, factor * 1 / 1_000) == 100


def test_weights_are_basis_points_and_shares_of_zero_have_no_route() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1")).split_by(split(v1=9_950, v2=50))
    action = route_of(state, "path_separated_prefix", "/v1/services/home")["route"]
    weighted = action["weighted_clusters"]
    assert {c["name"]: c["weight"] for c in weighted["clusters"]} == {
        "home@v1": 9_950,
        "home@v2": 50,
    }
    assert weighted["use_hash_policy"] is True
    assert [p["header"]["header_name"] for p in action["hash_policy"]] == [
        "mlg-sticky-key",
        "x-request-id",
    ]
    assert (action["timeout"], action["retry_policy"]["per_try_timeout"]) == (
        "1.500s",
        "0.250s",
    )
    whole = state.split_by(split(v1=10_000, v2=0))
    action = route_of(whole, "path_separated_prefix", "/v1/services/home")["route"]
    assert [c["name"] for c in action["weighted_clusters"]["clusters"]] == ["home@v1"]


def test_before_the_first_split_the_fallback_answers() -> None:
    state = MeshState().placed(home("v1", stable="v1"))
    action = route_of(state, "path_separated_prefix", "/v1/services/home")["route"]
    assert [c["name"] for c in action["weighted_clusters"]["clusters"]] == ["home@fallback"]


def test_the_open_inference_path_names_the_model_and_everything_else_is_refused() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    model = route_of(state, "path_separated_prefix", "/v2/models/ranker")
    service = route_of(state, "path_separated_prefix", "/v1/services/home")
    assert model["route"] == service["route"]
    assert "metadata" not in model  # its body has no top-level field for a viewer
    assert route_of(state, "prefix", "/v2/health/")["route"] == service["route"]
    routes = render(state, folder="x").routes["virtual_hosts"][0]["routes"]
    assert routes[-1]["match"] == {"prefix": "/"}
    assert routes[-1]["direct_response"]["status"] == 404


def test_the_route_names_the_field_that_the_sticky_filter_reads() -> None:
    endpoints = replace(home("v1", stable="v1"), sticky="session_id")
    state = MeshState().placed(endpoints).split_by(split(v1=10_000))
    service = route_of(state, "path_separated_prefix", "/v1/services/home")
    filters = listener(host="h", port=1, folder="x", access_log="l", log_bp=100)[
        "filter_chains"
    ][0]["filters"][0]["typed_config"]["http_filters"]
    assert [f["name"] for f in filters][-1] == "envoy.filters.http.router"
    named = service["metadata"]["filter_metadata"]
    assert named == {filters[0]["name"]: {"sticky_field": "session_id"}}
    script = filters[0]["typed_config"]["default_source_code"]["inline_string"]
    assert 'get("sticky_field")' in script
    assert 'add("mlg-sticky-key", key)' in script
    assert "> 65536" in script


def test_a_control_is_a_group_of_its_own_and_grows_from_the_other_end() -> None:
    control = arm_of("v1", "control")
    endpoints = home("v1", "v2", stable="v1")
    group = VersionEndpoints(version=control, endpoints=(at(130),))
    endpoints = replace(endpoints, versions=(*endpoints.versions, group))
    shares = {"v1": 9_000, "v2": 500, control: 500}
    state = MeshState().placed(endpoints).split_by(split(**shares))
    files = dict(render(state, folder="x").assignments)
    assert [ports(files["home@v1~control"], n) for n in range(3)] == [[130], [110, 111], [99]]
    action = route_of(state, "path_separated_prefix", "/v1/services/home")["route"]
    clusters = action["weighted_clusters"]["clusters"]
    assert [c["name"] for c in clusters] == ["home@v1~control", "home@v1", "home@v2"]
    assert clusters[0]["request_headers_to_add"][0]["header"] == {
        "key": "mlg-assigned-version",
        "value": "v1~control",
    }
    ejecting = {
        c["name"] for c in render(state, folder="x").clusters if "outlier_detection" in c
    }
    assert "home@v1~control" not in ejecting  # judged as the canary is


def test_only_the_stable_version_ejects_hosts() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1"))
    ejecting = {
        c["name"] for c in render(state, folder="x").clusters if "outlier_detection" in c
    }
    assert ejecting == {"home@v1", "home@fallback"}
    for cluster in render(state, folder="x").clusters:
        assert cluster["health_checks"][0]["http_health_check"]["path"] == HEALTH_PATH


def test_a_version_under_traffic_stays_until_the_split_leaves_it() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    state = state.placed(home("v2", stable="v2"))
    assert "home@v1" in dict(render(state, folder="x").assignments)
    state = state.placed(home("v1", "v2", stable="v2")).split_by(split(v2=10_000))
    state = state.placed(home("v2", stable="v2"))
    assert "home@v1" not in dict(render(state, folder="x").assignments)


def test_nothing_that_could_answer_takes_the_service_away() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    nothing = ServiceEndpoints(service="home", versions=(), stable=None, fallback=())
    assert state.placed(nothing) == MeshState()


def test_beside_holds_old_and_new_endpoints() -> None:
    former = MeshState().placed(home("v1", stable="v1"))
    moved = ServiceEndpoints(
        service="home",
        versions=(VersionEndpoints(version="v1", endpoints=(at(500),)),),
        stable="v1",
        fallback=(at(99),),
    )
    both = beside(former, former.placed(moved), "home")
    assert ports(dict(render(both, folder="x").assignments)["home@v1"], 0) == [110, 111, 500]


@given(a=st.integers(0, 4_000), b=st.integers(0, 4_000), more=st.integers(0, 1_000))
def test_a_growing_canary_moves_no_viewer_of_the_control(a: int, b: int, more: int) -> None:
    def owner(shares: TrafficSplit, place: int) -> str:
        for version, bp in shares_in_hash_order(shares, "v1"):
            if place < bp:
                return version
            place -= bp
        raise AssertionError

    before = split(v1=FULL_BP - a - b, v2=a, v3=b)
    after = split(v1=FULL_BP - a - b - more, v2=a + more, v3=b)
    for place in range(0, FULL_BP, 97):
        was, now = owner(before, place), owner(after, place)
        assert now == was or (was, now) == ("v1", "v2")


def test_equal_resources_have_equal_versions_and_bytes() -> None:
    one, other = discovery_file([{"a": 1, "b": 2}]), discovery_file([{"b": 2, "a": 1}])
    assert one == other
    assert one[0] != discovery_file([{"a": 1, "b": 3}])[0]
    assert json.loads(one[1]) == {"version_info": one[0], "resources": [{"a": 1, "b": 2}]}


@pytest.mark.parametrize("log_bp", [0, 100])
def test_the_admin_is_a_socket_of_its_owner_and_fault_headers_stay_inside(log_bp: int) -> None:
    viewers = listener(host="127.0.0.1", port=1, folder="f", access_log="l", log_bp=log_bp)
    started = bootstrap(viewers, folder="f", admin_socket="gateway/gateway-1.sock")
    assert started["admin"]["address"]["pipe"]["mode"] == 0o600
    assert "mlg-fault" in render(MeshState(), folder="f").routes["response_headers_to_remove"]


def test_a_server_of_its_own_kind_is_asked_without_the_prefix_and_at_its_own_health() -> None:
    catalog = replace(
        home("v1", stable="v1", model=""), service="catalog", health_path="/well", fallback=()
    )
    whole = TrafficSplit(service="catalog", shares=(Share(version="v1", bp=FULL_BP),))
    state = MeshState().placed(home("v2", stable="v2")).placed(catalog).split_by(whole)
    state = state.split_by(split(v2=FULL_BP))
    rewrite = route_of(state, "path_separated_prefix", "/v1/services/catalog")["route"][
        "regex_rewrite"
    ]
    pattern, substitution = rewrite["pattern"]["regex"], rewrite["substitution"]
    for path, seen in [
        ("/v1/services/catalog", "/"),
        ("/v1/services/catalog/", "/"),
        ("/v1/services/catalog/search", "/search"),
        ("/v1/services/catalog/v1/services/catalog", "/v1/services/catalog"),
    ]:
        assert re.sub(pattern, substitution, path) == seen
    routes = render(state, folder="x").routes["virtual_hosts"][0]["routes"]
    assert [r["match"] for r in routes] == [
        {"path_separated_prefix": "/v1/services/catalog"},
        {"path_separated_prefix": "/v1/services/home"},
        {"path_separated_prefix": "/v2/models/ranker"},
        {"prefix": "/v2/health/"},
        {"prefix": "/"},
    ]
    # the protocol's health is that of the first service that speaks it
    health = route_of(state, "prefix", "/v2/health/")["route"]["weighted_clusters"]
    assert [one["name"] for one in health["clusters"]] == ["home@v2"]
    clusters = {c["name"]: c for c in render(state, folder="x").clusters}
    asked = {
        name: one["health_checks"][0]["http_health_check"]["path"]
        for name, one in clusters.items()
    }
    assert asked == {
        "catalog@v1": "/well",
        "home@v2": HEALTH_PATH,
        "home@fallback": HEALTH_PATH,
    }
    assert "metadata" not in routes[0]  # its bodies are not looked into
