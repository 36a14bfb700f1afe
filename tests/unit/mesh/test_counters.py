from mlg.core.traffic import Endpoint
from mlg.mesh.counters import Requests, Totals, are_healthy, read_hosts, read_requests

CLUSTERS = {
    "cluster_statuses": [
        {
            "name": "home@v1",
            "host_statuses": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8001}},
                    "stats": [{"name": "rq_error"}, {"name": "rq_total", "value": "12"}],
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
    assert (first.endpoint.port, first.total, first.errors, first.healthy) == (
        8001,
        12,
        0,
        True,
    )
    assert (second.total, second.errors, second.healthy) == (0, 3, False)


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
            {"name": "cluster.other.upstream_rq_200", "value": 9},
            {"histograms": {}},
        ]
    }
    assert read_requests(stats) == (
        Requests(service="home", version="v1", code=200, total=7),
        Requests(service="home", version="v1", code=503, total=1),
    )


def test_a_counter_that_begins_again_is_added_on() -> None:
    totals, group = Totals(), ("home", "v1", "total")
    for value in (5, 9, 2, 3):
        totals.see(("gateway-1", "a"), group, value)
    totals.see(("gateway-2", "a"), group, 10)
    assert totals.of(group) == 9 + 3 + 10
