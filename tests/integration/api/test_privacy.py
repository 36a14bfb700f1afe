"""Erasures and retention over HTTP: roles, shapes, and what is refused."""

from typing import Any

import pytest


def test_an_erasure_needs_an_admin_and_names_who_asked(
    client: Any, plane: Any, roles: list[str]
) -> None:
    body = {"viewer": 7, "all": True, "reason": "ticket 1"}
    for role, status in (("viewer", 403), ("operator", 403), ("admin", 200)):
        roles[:] = [role]
        assert client.post("/api/v1/erasures", json=body).status_code == status
    assert plane.control.calls == [("erase", "7", "", "ticket 1", False, "local:ada")]


def test_one_service_and_a_dry_run_reach_the_control_plane(client: Any, plane: Any) -> None:
    body = {"viewer": "ann", "service": "home", "dry_run": True}
    assert client.post("/api/v1/erasures", json=body).json() == {"erasure": None}
    assert plane.control.calls == [("erase", "ann", "home", "", True, "local:ada")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"viewer": "ann"}, 422),
        ({"viewer": "ann", "service": "home", "all": True}, 422),
        ({"viewer": "", "all": True}, 400),
        ({"viewer": None, "all": True}, 400),
        ({"viewer": ["ann"], "all": True}, 400),
        ({"viewer": "a" * 1_001, "all": True}, 400),
        ({"viewer": "ann", "all": True, "reason": "x" * 2_001}, 400),
        ({"viewer": "ann", "service": "", "all": False}, 400),
        ({"viewer": "ann", "all": True, "extra": 1}, 400),
        ({"all": True}, 400),
    ],
)
def test_what_is_not_clear_is_refused(client: Any, plane: Any, body: Any, status: int) -> None:
    answer = client.post("/api/v1/erasures", json=body)
    assert answer.status_code == status, answer.text
    assert plane.control.calls == []


def test_retention_is_applied_by_an_operator(client: Any, plane: Any, roles: list[str]) -> None:
    for role, status in (("viewer", 403), ("operator", 200)):
        roles[:] = [role]
        assert client.post("/api/v1/gc", json={"dry_run": True}).status_code == status
    assert plane.control.calls == [("collect", True, "local:ada")]
