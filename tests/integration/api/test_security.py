"""Who may ask for what; from the first route."""

from typing import Any

import pytest
from litestar import Litestar, get

from mlg.api.app import ROLES, check_roles
from mlg.api.security import (
    MAX_BODY_BYTES,
    Caller,
    check_bind,
    check_host,
    check_origin,
    loopback_principal,
)
from mlg.core.errors import DeniedError

HOST = "127.0.0.1:7070"


def caller(**headers: str) -> Caller:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Caller(method="POST", path="/api/v1/down", peer="127.0.0.1", headers=named)


def test_every_route_declares_a_role(app: Any) -> None:
    seen = 0
    for route in app.routes:
        for handler in route.route_handlers:
            if handler.http_methods == {"OPTIONS"}:
                continue
            assert handler.opt.get("role") in ROLES, route.path
            seen += 1
    assert seen >= 25


def test_an_application_with_a_route_without_a_role_is_refused() -> None:
    @get("/open", sync_to_thread=False)
    def handler() -> str:
        return "hello"

    with pytest.raises(ValueError, match="/open declares no role"):
        check_roles(Litestar([handler], openapi_config=None))


@pytest.mark.parametrize(
    ("role", "path", "body", "status"),
    [
        ("viewer", "/api/v1/plan", {"manifest_path": "m"}, 403),
        ("viewer", "/api/v1/runs", {"pipeline": "p"}, 403),
        ("viewer", "/api/v1/audit-exports", {"prediction_id": "p-1"}, 403),
        ("operator", "/api/v1/restart", {"service": "home"}, 200),
        ("operator", "/api/v1/apply", {"manifest_path": "m"}, 403),
        ("operator", "/api/v1/down", {}, 403),
        ("operator", "/api/v1/graph/rebuild", {}, 403),
        ("admin", "/api/v1/down", {}, 202),
    ],
)
def test_a_route_asks_for_its_role(
    client: Any, plane: Any, roles: list[str], role: str, path: str, body: Any, status: int
) -> None:
    roles[:] = [role]
    answer = client.post(path, json=body)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"] == "denied"
        assert plane.control.calls == []
        (denial,) = plane.denials
        assert (denial.reason, denial.caller, denial.path) == ("role", "local:ada", path)


def test_a_caller_without_roles_reads_nothing(client: Any, roles: list[str]) -> None:
    roles.clear()
    for path in ("/", "/stream", "/metrics", "/schema/openapi.json", "/api/v1/status"):
        assert client.get(path).status_code == 403, path


@pytest.mark.parametrize("path", ["/api/v1/status", "/", "/nowhere", "/schema/openapi.json"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7070", "", "[::2]"])
def test_another_host_is_refused_on_every_path(
    client: Any, plane: Any, path: str, host: str
) -> None:
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]) == (403, "denied")
    assert plane.denials[0].reason == "host"


def test_an_allowed_host_may_carry_any_port_or_a_named_one() -> None:
    for host in ("127.0.0.1", "127.0.0.1:1", "LOCALHOST:7070", "[::1]:7070", "[::1]"):
        check_host(caller(host=host), ("127.0.0.1", "localhost", "[::1]"))
    check_host(caller(host="mlg.internal:7070"), ("mlg.internal:7070",))
    with pytest.raises(DeniedError):
        check_host(caller(host="mlg.internal:7071"), ("mlg.internal:7070",))
    with pytest.raises(DeniedError):
        check_host(caller(), ("127.0.0.1",))


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": f"http://{HOST}"}, True),
        ({"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"origin": f"http://{HOST}", "sec_fetch_site": "cross-site"}, False),
    ],
)
def test_a_write_must_come_from_our_own_page_or_no_browser(
    headers: dict[str, str], *, allowed: bool
) -> None:
    if allowed:
        check_origin(caller(host=HOST, **headers))
    else:
        with pytest.raises(DeniedError):
            check_origin(caller(host=HOST, **headers))


def test_a_foreign_write_changes_nothing_and_is_recorded(client: Any, plane: Any) -> None:
    answer = client.post("/api/v1/down", json={}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert plane.control.calls == []
    (denial,) = plane.denials
    assert (denial.reason, denial.method, denial.path) == ("origin", "POST", "/api/v1/down")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_form_cannot_write(client: Any, plane: Any, kind: str) -> None:
    answer = client.post("/api/v1/down", content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]) == (415, "media_type")
    assert plane.control.calls == []


def test_a_body_over_the_limit_is_refused_also_when_it_hides_its_length(
    client: Any, plane: Any
) -> None:
    large = b'{"service": "' + b"x" * MAX_BODY_BYTES + b'"}'
    headers = {"Content-Type": "application/json"}
    said = client.post("/api/v1/restart", content=large, headers=headers)
    assert (said.status_code, said.json()["error"]) == (413, "too_large")
    chunked = client.post("/api/v1/restart", content=iter([large]), headers=headers)
    assert (chunked.status_code, chunked.json()["error"]) == (413, "too_large")
    assert plane.control.calls == []


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(client: Any, method: str) -> None:
    answer = client.request(method, "/api/v1/status")
    assert (answer.status_code, answer.json()["error"]) == (405, "method")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_get_route_takes_no_post(client: Any) -> None:
    answer = client.post("/api/v1/status", json={})
    assert (answer.status_code, answer.json()["error"]) == (405, "method")


def test_an_unexpected_error_says_nothing_of_the_inside(client: Any, plane: Any) -> None:
    answer = client.get("/api/v1/services/secret/health")
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal"
    for inside in ("hunter2", "RuntimeError", "Traceback", "/etc/mlg"):
        assert inside not in answer.text
    (failure,) = plane.failures
    assert failure.error == "RuntimeError: password=hunter2 at /etc/mlg"


def test_every_answer_carries_the_protecting_headers(client: Any) -> None:
    answers = [
        client.get("/api/v1/status"),
        client.get("/nowhere"),
        client.get("/", headers={"Host": "evil.example"}),
        client.get("/"),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_flood_of_denials_does_not_flood_the_log(client: Any, plane: Any) -> None:
    for _ in range(50):
        client.get("/api/v1/status", headers={"Host": "evil.example"})
    assert len(plane.denials) == 20
    plane.clock.wait(3.0)
    client.get("/api/v1/status", headers={"Host": "evil.example"})
    assert len(plane.denials) == 21
    assert plane.denials[-1].suppressed == 30


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_may_be_listened_on(host: str) -> None:
    check_bind(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "", "mlg.example", "::ffff:1.2.3.4"]
)
def test_wider_is_refused_without_sign_in(host: str) -> None:
    with pytest.raises(DeniedError, match="loopback"):
        check_bind(host)
    check_bind(host, sign_in=True)


def test_only_who_is_on_this_machine_is_admin() -> None:
    principal_for = loopback_principal("ada")
    local = principal_for(caller(host=HOST))
    assert (local.subject, local.roles, local.via) == ("local:ada", ("admin",), "loopback")
    for peer in ("10.0.0.2", "", "testclient"):
        with pytest.raises(DeniedError, match="not on this machine"):
            principal_for(Caller(method="GET", path="/", peer=peer, headers={}))
    for header in ("x_forwarded_for", "forwarded", "via", "x_real_ip"):
        with pytest.raises(DeniedError, match="proxy"):
            principal_for(caller(**{header: "127.0.0.1"}))
