"""The door for commit hooks: bytes and headers go through untouched."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from litestar.testing import TestClient

from mlg.api.app import create_app
from mlg.core.principal import Principal

BODY = b'{"ref":  "refs/heads/main"}'


@dataclass
class Hooks:
    status: int = 202
    answer: dict[str, Any] = field(
        default_factory=lambda: {"outcome": "accepted", "hook_id": "mlg:1", "runs": ["r-1"]}
    )
    taken: list[tuple[Mapping[str, str], bytes, str]] = field(default_factory=list)

    def commit(
        self, headers: Mapping[str, str], body: bytes, principal: Principal
    ) -> tuple[int, dict[str, Any]]:
        self.taken.append((headers, body, principal.subject))
        return self.status, self.answer


def post(plane: Any, hooks: Hooks, **headers: str) -> Any:
    app = create_app(
        replace(plane.services(), hooks=hooks),
        allowed_hosts=("127.0.0.1",),
        principal_for=lambda _: Principal(
            subject="local:ada", roles=("viewer",), via="loopback"
        ),
    )
    with TestClient(app, base_url="http://127.0.0.1:7070") as client:
        sent = {"content-type": "application/json", **headers}
        return client.post("/api/v1/hooks/commit", content=BODY, headers=sent)


def test_the_operation_gets_the_bytes_that_were_signed(plane: Any) -> None:
    hooks = Hooks()
    answer = post(plane, hooks, **{"MLG-Signature": "t=1,v1=00"})
    assert answer.status_code == 202
    assert answer.json() == {
        "outcome": "accepted", "reason": "", "hook_id": "mlg:1", "runs": ["r-1"],
        "pipelines": [],
    }  # fmt: skip
    ((headers, body, who),) = hooks.taken
    assert (body, who, headers["mlg-signature"]) == (BODY, "local:ada", "t=1,v1=00")


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "replayed"), (403, "wrong_signature"), (422, "malformed")]
)
def test_a_refusal_has_the_status_of_its_cause(plane: Any, status: int, outcome: str) -> None:
    answer = post(plane, Hooks(status=status, answer={"outcome": outcome, "reason": "why"}))
    assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)


def test_without_hooks_none_is_taken(client: Any) -> None:
    answer = client.post("/api/v1/hooks/commit", json={})
    assert (answer.status_code, answer.json()["where"]) == (404, "MLG_HOOK_SECRET")
    assert "MLG_HOOK_SECRET" in answer.json()["hint"]


def test_a_hook_comes_as_json_like_every_write(plane: Any) -> None:
    hooks = Hooks()
    assert post(plane, hooks, **{"content-type": "text/plain"}).status_code == 415
    assert hooks.taken == []
