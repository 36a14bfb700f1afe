"""Sending a commit's hook: signed, again until taken, and clear about what went wrong."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.git_local import GitCommit
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.automations.hook_payloads import MAX_PATHS
from mlg.automations.hooks import Hook, verify_hook
from mlg.cli.hook_sending import Sending, body_of, deliver, secret_of
from mlg.core.errors import BackendError, DeniedError, ManifestError, NotFoundError
from mlg.core.ports import Reply

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COMMIT = GitCommit(commit="ab" * 20, branch="main", author="Ada", changed_paths=("a.sql",))
URL = "http://127.0.0.1:7070"
TAKEN = {"outcome": "accepted", "reason": "", "runs": ["r"], "pipelines": ["list"]}


def body(commit: GitCommit = COMMIT, **more: Any) -> bytes:
    given: dict[str, Any] = {"repository": "t/m", "tests": "passed", "folder": "", **more}
    return body_of(commit, **given)


def send(
    replies: list[Reply], tries: int = 4
) -> tuple[dict[str, Any], list[Request], list[float], list[str]]:
    network, asked, waits, notes = MemoryNetwork(), list[Request](), list[float](), list[str]()

    def answer(request: Request) -> Reply:
        asked.append(request)
        return replies[len(asked) - 1]

    network.serve(URL, answer)
    found = deliver(
        network, Sending(url=URL + "/", body=body()), "key", now=lambda: NOW,
        wait=waits.append, tries=tries, note=notes.append,
    )  # fmt: skip
    return found, asked, waits, notes


def reply(status: int, document: Any = None) -> Reply:
    return Reply(status=status, body=b"" if document is None else json.dumps(document).encode())


def test_what_is_sent_is_what_the_control_plane_takes() -> None:
    found, (request,), waits, _ = send([reply(202, TAKEN)])
    assert (found["status"], found["runs"], waits) == (202, ["r"], [])
    assert (request.method, request.path) == ("POST", "/api/v1/hooks/commit")
    taken = verify_hook(dict(request.headers), request.body, "key", (), NOW)
    assert isinstance(taken, Hook)
    assert (taken.repository, taken.branch, taken.commit) == ("t/m", "main", "ab" * 20)
    assert (taken.author, taken.changed_paths, taken.folder) == ("Ada", ("a.sql",), "")
    assert taken.tests_passed is True


def test_it_is_sent_again_with_growing_pauses_and_stays_one_hook() -> None:
    found, asked, waits, notes = send([reply(0), reply(503), reply(429), reply(200, TAKEN)])
    assert (found["status"], waits) == (200, [0.5, 1.0, 2.0])
    assert len({verify_hook(dict(r.headers), r.body, "key", (), NOW).id for r in asked}) == 1
    assert "no answer" in notes[0]
    assert "status 503" in notes[1]


def test_the_same_commit_with_another_verdict_is_another_hook() -> None:
    told = {
        json.loads(body(tests=word))["delivery"] for word in ("passed", "failed", "unknown")
    }
    assert len(told) == 3
    assert json.loads(body(delivery="mine"))["delivery"] == "mine"


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        ([reply(0)] * 4, BackendError, "in 4 tries"),
        ([reply(503, {"what": "the store is away", "error": "backend"})] * 4, BackendError,
         "the store is away"),
        ([reply(403, {"outcome": "wrong_signature", "reason": "no"})], DeniedError, "wrong"),
        ([reply(403, {"outcome": "stale", "reason": "old"})], DeniedError, "stale: old"),
        ([reply(403, {"error": "denied", "what": "a proxy"})], DeniedError, "a proxy"),
        ([reply(422, {"outcome": "malformed", "reason": "x"})], ManifestError, "malformed"),
        ([reply(404, {"error": "not_found", "what": "no secret"})], NotFoundError, "no secret"),
        ([reply(200, "hello")], BackendError, "not that of a control plane"),
    ],
)  # fmt: skip
def test_a_refusal_is_final_and_says_why(
    answers: list[Reply], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        send(answers)


def test_paths_that_are_not_known_or_too_many_are_not_told() -> None:
    for paths in (None, tuple(f"p{n}" for n in range(MAX_PATHS + 1))):
        commit = GitCommit(commit="ab" * 20, branch="main", author="", changed_paths=paths)
        assert "changed_paths" not in json.loads(body(commit))
    assert "folder" not in json.loads(body(folder=None))
    with pytest.raises(ManifestError, match="--tests"):
        body(tests="green")


def test_a_secret_is_named_and_never_repeated(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    (tmp_path / "empty").touch()
    assert secret_of("secret://file/key", {}, tmp_path) == "k"
    assert secret_of("secret://env/K", {"K": "v"}, tmp_path) == "v"
    with pytest.raises(ManifestError) as refused:
        secret_of("hunter2", {}, tmp_path)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
    for ref in ("secret://env/NONE", "secret://file/none", "secret://file/empty"):
        with pytest.raises(NotFoundError):
            secret_of(ref, {}, tmp_path)
