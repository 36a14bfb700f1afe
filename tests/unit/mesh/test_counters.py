from mlg.core.traffic import Endpoint
from mlg.mesh.counters import (
    HostCount,
    Reading,
    Totals,
    are_healthy,
    attempt_readings,
    read_hosts,
    request_readings,
)

CLUSTERS = {
    "cluster_statuses": [
        {
            "name": "home@v1",
            "host_statuses": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8001}},
                    "stats": [{"name": "rq_error"}, {"name": "rq_success", "value": "12"}],
                    "health_status": {"eds_health_status": "HEALTHY"},
                },
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8002}},
                    "stats": [{"name": "rq_error", "value": "3"}],
                    "health_status": {"failed_active_health_check": True},
                },
            ],
        },
        {"name": "empty"},
    ]
}


def test_host_counters_are_text_and_absent_at_zero() -> None:
    first, second = read_hosts(CLUSTERS)
    assert (first.endpoint.port, first.answered, first.errors, first.healthy) == (
        8001,
        12,
        0,
        True,
    )
    assert (second.answered, second.errors, second.healthy) == (0, 3, False)


def test_health_counts_in_the_versions_own_cluster_only() -> None:
    hosts = read_hosts(CLUSTERS)
    both = [Endpoint(host="127.0.0.1", port=p) for p in (8001, 8002)]
    assert are_healthy(hosts, "home", "v1", both, some=True)
    assert not are_healthy(hosts, "home", "v1", both, some=False)
    assert not are_healthy(hosts, "home", "v2", both, some=True)


def test_requests_are_read_once_and_by_code() -> None:
    stats = {
        "stats": [
            {"name": "cluster.home@v1.upstream_rq_200", "value": 7},
            {"name": "cluster.home@v1.external.upstream_rq_200", "value": 7},
            {"name": "cluster.home@v1.upstream_rq_2xx", "value": 7},
            {"name": "cluster.home@v1.upstream_rq_503", "value": 1},
            {"name": "cluster.home@v1+overflow.upstream_rq_200", "value": 3},
            {"name": "cluster.home@v2+shadow.upstream_rq_200", "value": 5},
            {"name": "cluster.other.upstream_rq_200", "value": 9},
            {"name": "limit.home.http_local_rate_limit.rate_limited", "value": 2},
            {"name": "viewers.http_local_rate_limit.rate_limited", "value": 8},
            {"histograms": {}},
        ]
    }
    totals = Totals()
    totals.see("gateway-1", "run", request_readings(stats))
    assert dict(totals.all()) == {
        ("home", "v1", "200"): 7 + 3,  # what overflowed was meant for v1
        ("home", "v1", "503"): 1,
        ("home", "none", "429"): 2,
    }


GROUP = ("home", "v1", "errors")


def reading(counter: str, value: int) -> Reading:
    return Reading(counter=counter, group=GROUP, value=value)


def test_a_counter_that_begins_again_is_added_on() -> None:
    totals = Totals()
    for value in (5, 9, 2, 3):
        totals.see("gateway-1", "run", [reading("a", value)])
    totals.see("gateway-2", "run", [reading("a", 10)])
    assert totals.of(GROUP) == 9 + 3 + 10


def test_another_life_begins_at_zero_even_when_it_has_counted_further() -> None:
    totals = Totals()
    totals.see("gateway-1", "first", [reading("a", 5)])
    totals.see("gateway-1", "second", [reading("a", 8)])
    assert totals.of(GROUP) == 5 + 8


def test_a_counter_that_went_and_came_back_begins_at_zero() -> None:
    totals = Totals()
    for seen in ([reading("a", 5)], [], [reading("a", 6)]):
        totals.see("gateway-1", "run", seen)
    assert totals.of(GROUP) == 5 + 6


def test_the_sums_go_on_from_a_record() -> None:
    totals = Totals()
    totals.see("gateway-1", "run", [reading("a", 5)])
    again = Totals(totals.record())
    again.see("gateway-1", "run", [reading("a", 7)])
    assert again.all() == [(GROUP, 7)]


def test_an_attempt_counts_for_who_was_asked_and_a_rescue_for_whom_it_was_meant() -> None:
    def host(cluster: str, port: int, answered: int, errors: int) -> HostCount:
        return HostCount(
            cluster=cluster,
            endpoint=Endpoint(host="127.0.0.1", port=port),
            answered=answered,
            errors=errors,
            healthy=True,
        )

    owners = {Endpoint(host="127.0.0.1", port=p): ("home", f"v{p}") for p in (1, 2)}
    totals = Totals()
    totals.see(
        "gateway-1",
        "run",
        attempt_readings(
            [
                host("home@v1", 1, 90, 1),  # stable: its own
                host("home@v1", 9, 1, 0),  # and what popularity answered for it
                host("home@v2", 2, 3, 7),  # canary: its own
                host("home@v2", 1, 6, 0),  # rescued by the stable version
                host("home@v2", 9, 1, 0),  # and by popularity
                host("home@v2+overflow", 9, 2, 0),  # it had enough under way
                host("home@v2+shadow", 2, 4, 1),  # copies: no attempts
                host("home@fallback", 9, 5, 0),  # before any version: nobody's rescue
                host("other", 1, 5, 0),
            ],
            owners,
        ),
    )
    assert dict(totals.all()) == {
        ("home", "v1", "answered"): 96,
        ("home", "v1", "errors"): 1,
        ("home", "v1", "rescued"): 1,
        ("home", "v2", "answered"): 3,
        ("home", "v2", "errors"): 7,
        ("home", "v2", "rescued"): 7 + 2,
        ("home", "v2", "shadowed"): 4 + 1,
        ("home", "v2", "shadow_errors"): 1,
    }
