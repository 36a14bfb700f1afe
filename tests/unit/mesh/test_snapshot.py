import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.traffic import (
    FULL_BP,
    Endpoint,
    Layer,
    RateLimit,
    ServiceEndpoints,
    Share,
    TrafficPolicy,
    TrafficSplit,
    VersionEndpoints,
    arm_of,
)
from mlg.mesh.listener import bootstrap, listener
from mlg.mesh.resources import HEALTH_PATH, assignment, rate_limit
from mlg.mesh.snapshot import (
    MeshState,
    beside,
    discovery_file,
    render,
    shares_in_hash_order,
)
from mlg.mesh.sources import FileSources

FILES = FileSources(folder="x")


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
        traffic=TrafficPolicy(timeout_ms=1_500, per_try_timeout_ms=250, in_flight=8),
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
    routes = render(state, sources=FILES).routes["virtual_hosts"][0]["routes"]
    return next(
        r for r in routes if r["match"].get(key) == value and "headers" not in r["match"]
    )


def test_priorities_are_the_version_then_the_stable_one_then_popularity() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1"))
    files = dict(render(state, sources=FILES).assignments)
    assert sorted(files) == [
        "home@fallback",
        "home@v1",
        "home@v1+overflow",
        "home@v2",
        "home@v2+overflow",
    ]
    assert [ports(files["home@v2+overflow"], n) for n in range(2)] == [[99], [110, 111]]
    assert [ports(files["home@v2"], n) for n in range(3)] == [[120, 121], [110, 111], [99]]
    assert [ports(files["home@v1"], n) for n in range(3)] == [[110, 111], [99], []]
    assert [ports(files["home@fallback"], n) for n in range(2)] == [[99], [110, 111]]


def test_one_healthy_replica_keeps_its_priority_whole() -> None:
    # Envoy's rule: a priority takes min(100, factor * healthy / all) percent
    factor = assignment("home@v1", [[at(1)]])["policy"]["overprovisioning_factor"]
    assert min(100, factor * 1 / 1_000) == 100


def ways(action: dict) -> list[tuple[int, str]]:
    """What the split's script says: upper end of each part, and its cluster."""
    script = script_of(action)
    found = re.findall(r'below = (\d+), name = "([^"]+)"', script)
    return [(int(below), name) for below, name in found]


def script_of(action: dict) -> str:
    plugin = action["route"]["inline_cluster_specifier_plugin"]["extension"]
    return plugin["typed_config"]["source_code"]["inline_string"]


def test_weights_are_basis_points_and_shares_of_zero_have_no_route() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1")).split_by(split(v1=9_950, v2=50))
    chosen = route_of(state, "path_separated_prefix", "/v1/services/home")
    assert ways(chosen) == [(50, "home@v2"), (10_000, "home@v1")]
    action = chosen["route"]
    assert (action["timeout"], action["retry_policy"]["per_try_timeout"]) == (
        "1.500s",
        "0.250s",
    )
    whole = state.split_by(split(v1=10_000, v2=0))
    chosen = route_of(whole, "path_separated_prefix", "/v1/services/home")
    assert ways(chosen) == [(10_000, "home@v1")]


def test_a_version_is_given_what_its_replicas_take_and_the_list_the_rest() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    script = script_of(route_of(state, "path_separated_prefix", "/v1/services/home"))
    assert 'overflow = "home@v1+overflow", limit = 16}' in script  # 8 a replica, of two
    alone = replace(home("v1", stable="v1"), fallback=())
    state = MeshState().placed(alone).split_by(split(v1=10_000))
    script = script_of(route_of(state, "path_separated_prefix", "/v1/services/home"))
    assert "limit = " not in script  # nobody else could answer


def test_a_replica_more_leaves_the_clusters_as_they_are() -> None:
    # another cluster resource would be another cluster, with new connections and counters
    state = MeshState().placed(home("v1", stable="v1"))
    more = VersionEndpoints(version="v1", endpoints=(at(110), at(111), at(112)))
    grown = state.placed(replace(home("v1", stable="v1"), versions=(more,)))
    assert render(grown, sources=FILES).clusters == render(state, sources=FILES).clusters
    assert grown != state


def test_retries_may_rescue_all_where_somebody_else_can_answer() -> None:
    def budgets(endpoints: ServiceEndpoints) -> dict[str, tuple[int, int]]:
        clusters = render(MeshState().placed(endpoints), sources=FILES).clusters
        return {
            c["name"]: (
                threshold["retry_budget"]["budget_percent"]["value"],
                threshold["retry_budget"]["min_retry_concurrency"],
            )
            for c in clusters
            for threshold in c["circuit_breakers"]["thresholds"]
            if threshold["priority"] == "DEFAULT"
        }

    many = replace(home("v1", stable="v1"), traffic=TrafficPolicy(in_flight=40))
    assert budgets(many)["home@v1"] == (100, 40)
    assert budgets(replace(many, fallback=())) == {"home@v1": (20, 16)}


def test_feedback_is_of_high_priority_and_neither_limited_nor_copied() -> None:
    policy = TrafficPolicy(rate_limit=RateLimit(per_s=10, burst=10), shadow_bp=10_000)
    endpoints = replace(home("v1", "v2", stable="v1"), traffic=policy)
    state = MeshState().placed(endpoints).split_by(split(v1=10_000))
    feedback = route_of(state, "path", "/v1/services/home/feedback")
    service = route_of(state, "path_separated_prefix", "/v1/services/home")
    assert feedback["route"]["priority"] == "HIGH"
    assert "overflow = " not in script_of(feedback)
    assert "overflow = " in script_of(service)
    assert "priority" not in service["route"]
    for key in ("typed_per_filter_config", "request_mirror_policies"):
        assert key not in feedback
        assert key not in feedback["route"]
    assert "typed_per_filter_config" in service
    assert "request_mirror_policies" in service["route"]


def test_copies_go_to_warm_versions_without_a_share_and_are_rescued_by_nobody() -> None:
    endpoints = replace(home("v1", "v2", stable="v1"), traffic=TrafficPolicy(shadow_bp=500))
    state = MeshState().placed(endpoints).split_by(split(v1=10_000))
    files = dict(render(state, sources=FILES).assignments)
    assert [ports(files["home@v2+shadow"], n) for n in range(2)] == [[120, 121], []]
    service = route_of(state, "path_separated_prefix", "/v1/services/home")["route"]
    (mirror,) = service["request_mirror_policies"]
    assert mirror["cluster"] == "home@v2+shadow"
    assert mirror["runtime_fraction"]["default_value"] == {
        "numerator": 500,
        "denominator": "TEN_THOUSAND",
    }
    canary = state.split_by(split(v1=9_950, v2=50))
    action = route_of(canary, "path_separated_prefix", "/v1/services/home")["route"]
    assert "request_mirror_policies" not in action  # it has viewers of its own


@pytest.mark.parametrize("per_s", [0.2, 1.0, 7.0, 19.9, 100.0, 5_000.0])
def test_a_rate_limit_fills_at_its_rate_shared_by_the_gateways(per_s: float) -> None:
    limit = rate_limit("home", RateLimit(per_s=per_s, burst=3), 2)
    bucket = limit["token_bucket"]
    interval_s = float(bucket["fill_interval"].removesuffix("s"))
    assert interval_s >= 0.05  # Envoy refuses shorter ones
    filled = bucket["tokens_per_fill"] / interval_s
    assert filled <= per_s / 2
    assert filled == pytest.approx(per_s / 2, rel=0.02)  # milliseconds are rounded up
    assert bucket["max_tokens"] >= bucket["tokens_per_fill"]


def test_before_the_first_split_the_fallback_answers() -> None:
    state = MeshState().placed(home("v1", stable="v1"))
    assert ways(route_of(state, "path_separated_prefix", "/v1/services/home")) == [
        (10_000, "home@fallback")
    ]


def test_the_open_inference_path_names_the_model_and_everything_else_is_refused() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    model = route_of(state, "path_separated_prefix", "/v2/models/ranker")
    service = route_of(state, "path_separated_prefix", "/v1/services/home")
    assert model["route"] == service["route"]
    assert "metadata" not in model  # its body has no top-level field for a viewer
    assert ways(route_of(state, "prefix", "/v2/health/")) == ways(service)
    routes = render(state, sources=FILES).routes["virtual_hosts"][0]["routes"]
    assert routes[-1]["match"] == {"prefix": "/"}
    assert routes[-1]["direct_response"]["status"] == 404


def test_the_route_names_the_field_that_the_sticky_filter_reads() -> None:
    endpoints = replace(home("v1", stable="v1"), sticky="session_id")
    state = MeshState().placed(endpoints).split_by(split(v1=10_000))
    service = route_of(state, "path_separated_prefix", "/v1/services/home")
    filters = listener(
        host="h", port=1, sources=FILES, access_log="l", attempt_log="a", log_bp=100
    )["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert [f["name"] for f in filters][-1] == "envoy.filters.http.router"
    named = service["metadata"]["filter_metadata"]
    assert named == {filters[1]["name"]: {"sticky_field": "session_id"}}
    script = filters[1]["typed_config"]["default_source_code"]["inline_string"]
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
    files = dict(render(state, sources=FILES).assignments)
    assert [ports(files["home@v1~control"], n) for n in range(3)] == [[130], [110, 111], [99]]
    chosen = route_of(state, "path_separated_prefix", "/v1/services/home")
    assert [name for _, name in ways(chosen)] == ["home@v1~control", "home@v1", "home@v2"]
    protocol = next(
        c["typed_extension_protocol_options"]
        for c in render(state, sources=FILES).clusters
        if c["name"] == "home@v1~control"
    )
    assert '{"key": "mlg-assigned-version", "value": "v1~control"}' in json.dumps(protocol)
    ejecting = {
        c["name"] for c in render(state, sources=FILES).clusters if "outlier_detection" in c
    }
    assert "home@v1~control" not in ejecting  # judged as the canary is


def test_only_the_stable_version_ejects_hosts() -> None:
    state = MeshState().placed(home("v1", "v2", stable="v1"))
    ejecting = {
        c["name"] for c in render(state, sources=FILES).clusters if "outlier_detection" in c
    }
    overflows = {"home@v1+overflow", "home@v2+overflow"}
    assert ejecting == {"home@v1", "home@fallback", *overflows}
    for cluster in render(state, sources=FILES).clusters:
        assert cluster["health_checks"][0]["http_health_check"]["path"] == HEALTH_PATH


def test_a_version_under_traffic_stays_until_the_split_leaves_it() -> None:
    state = MeshState().placed(home("v1", stable="v1")).split_by(split(v1=10_000))
    state = state.placed(home("v2", stable="v2"))
    assert "home@v1" in dict(render(state, sources=FILES).assignments)
    state = state.placed(home("v1", "v2", stable="v2")).split_by(split(v2=10_000))
    state = state.placed(home("v2", stable="v2"))
    assert "home@v1" not in dict(render(state, sources=FILES).assignments)


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
    assert ports(dict(render(both, sources=FILES).assignments)["home@v1"], 0) == [110, 111, 500]


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
    viewers = listener(
        host="127.0.0.1", port=1, sources=FILES, access_log="l", attempt_log="a", log_bp=log_bp
    )
    started = bootstrap(viewers, sources=FILES, admin_socket="gateway/gateway-1.sock")
    assert started["admin"]["address"]["pipe"]["mode"] == 0o600
    assert (
        "mlg-fault" in render(MeshState(), sources=FILES).routes["response_headers_to_remove"]
    )


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
    routes = render(state, sources=FILES).routes["virtual_hosts"][0]["routes"]
    assert [r["match"] for r in routes if "headers" not in r["match"]] == [
        {"path_separated_prefix": "/v1/services/catalog"},
        {"path": "/v1/services/home/feedback"},
        {"path_separated_prefix": "/v1/services/home"},
        {"path_separated_prefix": "/v2/models/ranker"},
        {"prefix": "/v2/health/"},
        {"prefix": "/"},
    ]
    # the protocol's health is that of the first service that speaks it
    health = json.dumps(route_of(state, "prefix", "/v2/health/"))
    assert "home@v2" in health
    assert "catalog" not in health
    clusters = {c["name"]: c for c in render(state, sources=FILES).clusters}
    asked = {
        name: one["health_checks"][0]["http_health_check"]["path"]
        for name, one in clusters.items()
    }
    assert asked.pop("catalog@v1") == "/well"
    assert {"home@v2", "home@fallback"} <= asked.keys()
    assert set(asked.values()) == {HEALTH_PATH}
    assert "metadata" not in routes[0]  # its bodies are not looked into


def test_the_servers_metadata_are_asked_of_the_first_service_that_can_answer() -> None:
    def asked(*services: ServiceEndpoints, path: str = "/v2") -> dict | None:
        state = MeshState()
        for one in services:
            state = state.placed(one)
        (host,) = render(state, sources=FILES).routes["virtual_hosts"]
        found = [r for r in host["routes"] if r["match"].get("path") == path]
        assert len(found) <= 1
        return found[0] if found else None

    warm = replace(home("v1"), service="early", model="other", fallback=())
    for path in ("/v2", "/v2/"):
        assert asked(path=path) is None  # nobody speaks the protocol
        refused = asked(warm, path=path)
        assert refused is not None
        assert refused["direct_response"]["status"] == 503
        given = asked(warm, home("v1"), path=path)
        assert given is not None
        assert "home@" in json.dumps(given["route"])
        assert given["match"]["headers"] == [
            {"name": ":method", "string_match": {"exact": "GET"}}
        ]
    other = replace(home(), service="server", health_path="/ready", model="")
    assert asked(other) is None


def test_a_layer_has_a_salt_of_its_own_and_comes_before_the_split() -> None:
    held = Layer(salt="holdout", shares=(Share(version="v2", bp=100),))
    state = MeshState().placed(home("v1", "v2", stable="v1"))
    state = state.split_by(replace(split(v1=FULL_BP), layers=(held,)))
    routes = json.dumps(render(state, sources=FILES).routes)
    assert 'salt = \\\\\\"holdout:\\\\\\", ways = {' in json.dumps(routes)
    assert routes.index("holdout:") < routes.index("below = 10000")
    # what a layer sends viewers to stays while its endpoints go
    kept = state.placed(home("v1", stable="v1"))
    assert [v.version for v in kept.service("home").retained] == ["v2"]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="twice"):
        replace(split(v1=FULL_BP), layers=(held, held))
    with pytest.raises(ValueError, match="below 10000"):
        replace(
            split(v1=FULL_BP), layers=(Layer(salt="a", shares=()), held, replace(held, salt=""))
        )


@pytest.mark.parametrize("begins", [(0,), (0, 99), (9_900, 9_950)])
def test_parts_of_a_layer_do_not_overlap(begins: tuple[int, ...]) -> None:
    two = (Share(version="v2", bp=100), Share(version="v3", bp=100))
    with pytest.raises(ValueError, match="overlap"):
        replace(split(v1=FULL_BP), layers=(Layer(salt="rows", shares=two, begins=begins),))
