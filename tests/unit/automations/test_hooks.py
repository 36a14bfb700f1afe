import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from mlg.automations.hook_payloads import MAX_PATHS
from mlg.automations.hooks import Hook, Refusal, pipelines_for, signature, verify_hook

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "s3cret of the hooks"
SHA = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
OURS = {
    "repository": "team/movies",
    "ref": "refs/heads/main",
    "commit": SHA.upper(),
    "author": "ada",
    "changed_paths": ["b.py", "a.py", "b.py"],
    "tests_passed": True,
}
PUSH = {
    "ref": "refs/heads/main",
    "after": SHA,
    "deleted": False,
    "repository": {"full_name": "team/movies", "id": 1},
    "head_commit": {"author": {"name": "Ada L", "username": "ada"}},
    "commits": [
        {"added": ["new.py"], "modified": ["a.py"], "removed": []},
        {"added": [], "modified": ["a.py"], "removed": ["old.py"]},
    ],
}
RUN = {
    "action": "completed",
    "repository": {"full_name": "team/movies"},
    "workflow_run": {
        "head_sha": SHA,
        "head_branch": "main",
        "conclusion": "success",
        "head_commit": {"author": {"name": "Ada L"}},
        "head_repository": {"full_name": "team/movies"},
    },
}
PIPELINE = {
    "object_kind": "pipeline",
    "object_attributes": {"ref": "main", "sha": SHA, "status": "success", "tag": False},
    "user": {"username": "ada"},
    "project": {"path_with_namespace": "team/movies"},
}


def body_of(content: Any) -> bytes:
    return json.dumps(content).encode()


def ours(body: bytes, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    seconds = int(at.timestamp())
    signed = f"{seconds}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return {"Mlg-Signature": f"t={seconds},v1={digest}"}


def github(body: bytes, kind: str = "push", secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={digest}",
        "X-GitHub-Event": kind,
        "X-GitHub-Delivery": "d-1",
    }


def refused(found: Hook | Refusal) -> str:
    assert isinstance(found, Refusal)
    assert SECRET not in found.what
    return found.cause


def test_a_plain_hook_is_taken_with_what_it_tells() -> None:
    body = body_of(OURS)
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert (found.repository, found.branch, found.commit) == ("team/movies", "main", SHA)
    assert (found.author, found.tests_passed) == ("ada", True)
    assert found.changed_paths == ("a.py", "b.py")
    assert ours(body)["Mlg-Signature"] == signature(SECRET, body, NOW)


def test_githubs_published_example_is_genuine() -> None:
    # docs.github.com, "Validating webhook deliveries", testing values
    headers = {
        "X-Hub-Signature-256": "sha256="
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "X-GitHub-Event": "push",
    }
    body, secret = b"Hello, World!", "It's a Secret to Everybody"
    assert refused(verify_hook(headers, body, secret, (), NOW)) == "malformed"
    assert refused(verify_hook(headers, body + b" ", secret, (), NOW)) == "wrong_signature"


def test_a_push_on_github_does_not_say_that_tests_passed() -> None:
    body = body_of(PUSH)
    found = verify_hook(github(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert (found.sender, found.delivery, found.author) == ("github", "d-1", "ada")
    assert found.changed_paths == ("a.py", "new.py", "old.py")
    assert found.tests_passed is None


@pytest.mark.parametrize(("conclusion", "passed"), [("success", True), ("failure", False)])
def test_a_finished_workflow_on_github_says_it(conclusion: str, passed: bool) -> None:
    body = body_of({**RUN, "workflow_run": {**RUN["workflow_run"], "conclusion": conclusion}})
    found = verify_hook(github(body, "workflow_run"), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert (found.ref, found.tests_passed, found.author) == ("refs/heads/main", passed, "Ada L")


@pytest.mark.parametrize(
    "change",
    [
        {"head_repository": {"full_name": "evil/movies"}},
        {"head_repository": None},
        {"head_branch": None},
        {"conclusion": None},
        {"conclusion": "cancelled"},
    ],
)
def test_a_forks_branch_of_the_same_name_starts_nothing(change: Any) -> None:
    body = body_of({**RUN, "workflow_run": {**RUN["workflow_run"], **change}})
    found = verify_hook(github(body, "workflow_run"), body, SECRET, (), NOW)
    assert refused(found) == "ignored"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("ping", {"zen": "x"}),
        ("push", {**PUSH, "deleted": True}),
        ("push", {**PUSH, "after": "0" * 40}),
        ("issues", {}),
    ],
)
def test_what_tells_of_no_commit_is_ignored(kind: str, content: Any) -> None:
    body = body_of(content)
    assert refused(verify_hook(github(body, kind), body, SECRET, (), NOW)) == "ignored"


def test_gitlab_by_token_and_by_standard_webhooks() -> None:
    body = body_of(PIPELINE)
    by_token = verify_hook({"X-Gitlab-Token": SECRET}, body, SECRET, (), NOW)
    assert isinstance(by_token, Hook)
    assert (by_token.commit, by_token.tests_passed, by_token.author) == (SHA, True, "ada")
    wrong = verify_hook({"X-Gitlab-Token": SECRET + "x"}, body, SECRET, (), NOW)
    assert refused(wrong) == "wrong_signature"
    key = base64.b64encode(b"a shared secret of 24 by").decode()
    seconds = str(int(NOW.timestamp()))
    signed = hmac.new(
        base64.b64decode(key), f"msg_1.{seconds}.".encode() + body, hashlib.sha256
    ).digest()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1a,x v1,{base64.b64encode(signed).decode()}",
    }
    found = verify_hook(headers, body, f"whsec_{key}", (), NOW)
    assert isinstance(found, Hook)
    assert found.delivery == "msg_1"
    other = {**headers, "webhook-id": "msg_2"}
    assert refused(verify_hook(other, body, f"whsec_{key}", (), NOW)) == "wrong_signature"
    merge = body_of(
        {
            **PIPELINE,
            "object_attributes": {
                **PIPELINE["object_attributes"], "source": "merge_request_event",
            },
        }
    )  # fmt: skip
    token = {"X-Gitlab-Token": SECRET}
    assert refused(verify_hook(token, merge, SECRET, (), NOW)) == "ignored"


def test_the_published_vector_of_standard_webhooks_is_genuine() -> None:
    # github.com/standard-webhooks, specification, "Signature scheme"
    body = b'{"event_type":"ping","data":{"success":true}}'
    headers = {
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    secret, then = "whsec_plJ3nmyCDGBKInavdOK15jsl", datetime.fromtimestamp(1731705121, UTC)
    assert refused(verify_hook(headers, body, secret, (), then)) == "malformed"


@pytest.mark.parametrize(
    ("apart", "cause"), [(-301, "stale"), (-299, ""), (0, ""), (299, ""), (301, "stale")]
)
def test_a_signed_time_far_from_now_is_stale(apart: int, cause: str) -> None:
    body = body_of(OURS)
    headers = ours(body, at=NOW + timedelta(seconds=apart))
    found = verify_hook(headers, body, SECRET, (), NOW)
    assert (refused(found) if cause else "") == cause


@pytest.mark.parametrize("sign", [ours, github])
def test_a_replay_is_known_by_what_was_signed(sign: Any) -> None:
    body = body_of(OURS if sign is ours else PUSH)
    headers = sign(body)
    first = verify_hook(headers, body, SECRET, (), NOW)
    assert isinstance(first, Hook)
    again = verify_hook({**headers, "X-GitHub-Delivery": "d-2"}, body, SECRET, {first.id}, NOW)
    assert refused(again) == "replayed"
    assert isinstance(again, Refusal)
    assert (again.id, again.http_status) == (first.id, 200)


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({}, "unsigned"),
        ({"mlg-signature": ""}, "wrong_signature"),
        ({"mlg-signature": "t=1,t=2,v1=00"}, "wrong_signature"),
        ({"mlg-signature": "v1=00"}, "wrong_signature"),
        ({"mlg-signature": "t=\uff11,v1=\udc80"}, "wrong_signature"),
        ({"x-hub-signature-256": ""}, "wrong_signature"),
        ({"x-hub-signature-256": "sha1=00"}, "wrong_signature"),
        ({"x-gitlab-token": ""}, "wrong_signature"),
        ({"webhook-signature": "v1,", "webhook-id": "a"}, "wrong_signature"),
        ({"webhook-signature": ""}, "wrong_signature"),
    ],
)
def test_a_signature_that_is_none_is_refused(headers: Any, cause: str) -> None:
    found = verify_hook(headers, body_of(OURS), SECRET, (), NOW)
    assert refused(found) == cause
    assert isinstance(found, Refusal)
    assert found.http_status == 403


@pytest.mark.parametrize("sign", [ours, github])
def test_without_a_secret_nothing_is_genuine(sign: Any) -> None:
    body = body_of(OURS)
    assert refused(verify_hook(sign(body, secret=""), body, "", (), NOW)) == "unsigned"
    assert refused(verify_hook({"x-gitlab-token": ""}, body, "", (), NOW)) == "unsigned"


@pytest.mark.parametrize(
    "content",
    [
        {**OURS, "commit": "main; rm -rf"},
        {**OURS, "ref": "a\nb"},
        {**OURS, "ref": ""},
        {**OURS, "more": 1},
        {**OURS, "tests_passed": "yes"},
        [],
        None,
    ],
)
def test_a_genuine_body_of_another_form_is_malformed(content: Any) -> None:
    body = body_of(content)
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert refused(found) == "malformed"
    assert isinstance(found, Refusal)
    assert found.http_status == 422


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"{}" * 600_000])
def test_a_body_that_is_no_json_or_too_long_is_malformed(body: bytes) -> None:
    assert refused(verify_hook(ours(body), body, SECRET, (), NOW)) == "malformed"


@pytest.mark.parametrize(("count", "kept"), [(MAX_PATHS, MAX_PATHS), (MAX_PATHS + 1, None)])
def test_of_more_paths_than_are_kept_none_are(count: int, kept: int | None) -> None:
    # a part of them would say that the rest is untouched
    body = body_of({**OURS, "changed_paths": [f"p{n}" for n in range(count)]})
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert (None if found.changed_paths is None else len(found.changed_paths)) == kept


def test_a_delivery_is_one_hook_however_often_it_is_signed() -> None:
    body = body_of({**OURS, "delivery": "d-7"})
    later = NOW + timedelta(seconds=60)
    first = verify_hook(ours(body), body, SECRET, (), NOW)
    again = verify_hook(ours(body, at=later), body, SECRET, (), later)
    assert isinstance(first, Hook)
    assert isinstance(again, Hook)
    assert (first.id, first.delivery) == (again.id, "d-7")
    assert refused(verify_hook(ours(body, at=later), body, SECRET, (first.id,), later)) == (
        "replayed"
    )
    other = body_of({**OURS, "delivery": "d-7", "repository": "team/other"})
    found = verify_hook(ours(other), other, SECRET, (first.id,), NOW)
    assert isinstance(found, Hook)


FILES = {"ranker": frozenset(("mlg.yaml", "sql/clean.sql", "movies/features.py"))}


@pytest.mark.parametrize(
    ("folder", "paths", "started"),
    [
        ("", ["sql/clean.sql"], True),
        ("", ["README.md", "movies/features.py"], True),
        ("", ["README.md", "shop/sql/clean.sql"], False),
        ("shop", ["shop/sql/clean.sql"], True),
        ("/shop/", ["shop/sql/clean.sql"], True),
        ("shop", ["sql/clean.sql", "shopping/sql/clean.sql", "shop"], False),
        (None, ["shop/sql/clean.sql"], True),
        (None, ["xsql/clean.sql", "clean.sql", "sql/clean.sql/more"], False),
        ("", [], False),
        ("", None, True),
        (None, None, True),
        ("", ["prices/2026/may.csv"], True),
        ("shop", ["prices/2026/may.csv"], False),
        ("shop", ["shop/prices/2026/may.csv"], True),
        ("", ["prices/readme.md"], False),
    ],
)
def test_a_commit_starts_the_pipelines_whose_files_it_changes(
    folder: str | None, paths: list[str] | None, started: bool, manifest: Any
) -> None:
    spec = manifest("  {}\n").spec
    ranker = spec.pipelines["ranker"]
    on = structs.replace(ranker.on, paths=("prices/*.csv",))
    spec = structs.replace(spec, pipelines={"ranker": structs.replace(ranker, on=on)})
    told = {**OURS, "folder": folder, "changed_paths": paths}
    body = body_of({name: value for name, value in told.items() if value is not None})
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert pipelines_for(found, spec, FILES) == (("ranker",) if started else ())


def test_a_pipeline_whose_files_cannot_be_told_is_always_touched(manifest: Any) -> None:
    spec = manifest("  {}\n").spec
    body = body_of(OURS)
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert pipelines_for(found, spec, {"ranker": None}) == ("ranker",)
    assert pipelines_for(found, spec, {"ranker": frozenset()}) == ()


HEADERS = ["mlg-signature", "x-hub-signature-256", "x-gitlab-token", "webhook-signature"]


@given(st.binary(max_size=40), st.text(max_size=40), st.sampled_from(HEADERS))
def test_no_guess_is_genuine(body: bytes, guess: str, header: str) -> None:
    headers = {header: guess, "webhook-id": "1", "webhook-timestamp": "1"}
    assert refused(verify_hook(headers, body, SECRET, (), NOW)) == "wrong_signature"


@pytest.mark.parametrize(
    ("change", "started"),
    [
        ({}, ("ranker",)),
        ({"tests_passed": False}, ()),
        ({"tests_passed": None}, ()),
        ({"ref": "refs/heads/other"}, ()),
        ({"ref": "refs/tags/main"}, ()),
        ({"ref": "main"}, ("ranker",)),
    ],
)
def test_a_commit_on_the_branch_with_passed_tests_starts_the_pipeline(
    change: Any, started: Any, manifest: Any
) -> None:
    spec = manifest("  {}\n").spec
    body = body_of({**OURS, **change})
    found = verify_hook(ours(body), body, SECRET, (), NOW)
    assert isinstance(found, Hook)
    assert pipelines_for(found, spec, {"ranker": frozenset(("a.py",))}) == started
