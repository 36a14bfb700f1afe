"""Bodies of commit hooks to one shape: GitHub, GitLab, and our own plain one."""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

MAX_PATHS: Final = 1_000
"""Most changed paths that are kept; of more nobody can say what they leave untouched."""

Sha = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{7,64}\Z")]
Line = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
Who = Annotated[str, Meta(max_length=500)]
Path = Annotated[str, Meta(max_length=4096)]


class Commit(Struct, frozen=True, kw_only=True):
    """What a hook tells, whoever sent it."""

    repository: Line
    ref: Line
    """Full ref, for example `refs/heads/main`."""
    commit: Sha
    author: Who = ""
    changed_paths: tuple[Path, ...] | None = None
    """Sorted, each once; None where the sender does not say, or names more than `MAX_PATHS`."""
    tests_passed: bool | None = None
    """None where the sender does not say."""
    folder: Path | None = None
    """The manifest's folder in the repository, empty for its root; None where not told."""
    delivery: Annotated[str, Meta(max_length=200)] = ""
    """The sender's own id of what it tells; told again under the same id it is one hook."""


class NothingToDo(Exception):  # noqa: N818 (no failure: the sender told of something else)
    """The hook is genuine and tells of no commit: a ping, a deleted branch, tests that run."""


class _Change(Struct, frozen=True, kw_only=True):
    added: tuple[Path, ...] = ()
    modified: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()


class _Person(Struct, frozen=True, kw_only=True):
    name: Who = ""
    username: Who = ""


class _GitHubRepository(Struct, frozen=True, kw_only=True):
    full_name: Line


class _GitHubHead(Struct, frozen=True, kw_only=True):
    author: _Person = _Person()


class _GitHubPush(Struct, frozen=True, kw_only=True):
    ref: Line
    after: Sha
    repository: _GitHubRepository
    deleted: bool = False
    commits: tuple[_Change, ...] = ()
    head_commit: _GitHubHead | None = None


class _GitHubRun(Struct, frozen=True, kw_only=True):
    head_sha: Sha
    head_branch: Line | None = None
    """None for a commit of a fork."""
    conclusion: str | None = None
    head_commit: _GitHubHead | None = None
    head_repository: _GitHubRepository | None = None
    """Only in workflow runs."""


class _GitHubRunEvent(Struct, frozen=True, kw_only=True):
    repository: _GitHubRepository
    workflow_run: _GitHubRun | None = None
    check_suite: _GitHubRun | None = None


class _GitLabProject(Struct, frozen=True, kw_only=True):
    path_with_namespace: Line


class _GitLabTests(Struct, frozen=True, kw_only=True):
    ref: Line
    sha: Sha
    status: str
    tag: bool = False
    source: str = ""


class _GitLab(Struct, frozen=True, kw_only=True):
    object_kind: str
    project: _GitLabProject
    ref: Line | None = None
    after: Sha | None = None
    user_username: Who = ""
    user: _Person = _Person()
    commits: tuple[_Change, ...] = ()
    object_attributes: _GitLabTests | None = None


class _Ours(Commit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A commit whose fields have no others beside them."""


_PASSED: Final[dict[str, bool]] = {
    "success": True,
    "failure": False,
    "timed_out": False,
    "failed": False,
    "startup_failure": False,
}
"""How a run of tests ended; other words are no verdict."""


def read_github(kind: str, body: bytes) -> Commit:
    """Return the commit of a GitHub hook of the kind `push`, `workflow_run` or `check_suite`.

    Raises:
        NothingToDo: Another kind, a deleted branch, tests without a verdict, or a fork's.
        ValidationError: The body has not the form of this kind.
        DecodeError: The body is no JSON.
    """
    if kind == "push":
        push = msgspec.json.decode(body, type=_GitHubPush)
        if push.deleted or _is_gone(push.after):
            raise NothingToDo("the branch was deleted")
        return Commit(
            repository=push.repository.full_name,
            ref=push.ref,
            commit=push.after,
            author=_author(push.head_commit),
            changed_paths=_paths(push.commits),
        )
    if kind not in {"workflow_run", "check_suite"}:
        raise NothingToDo(f"events of the kind {kind[:50]!r} tell of no commit")
    told = msgspec.json.decode(body, type=_GitHubRunEvent)
    run = told.workflow_run if kind == "workflow_run" else told.check_suite
    if run is None:
        raise msgspec.ValidationError(f"expected the object {kind}")
    passed = _PASSED.get(run.conclusion or "")
    if passed is None:
        raise NothingToDo("the tests have no verdict")
    home = told.repository if kind == "check_suite" else run.head_repository
    if run.head_branch is None or home != told.repository:
        raise NothingToDo("the commit is a fork's")  # its branch may be called main too
    return Commit(
        repository=told.repository.full_name,
        ref=f"refs/heads/{run.head_branch}",
        commit=run.head_sha,
        author=_author(run.head_commit),
        tests_passed=passed,
    )


def read_gitlab(body: bytes) -> Commit:
    """Return the commit of a GitLab hook of the kind `push` or `pipeline`.

    Raises:
        NothingToDo: Another kind, a deleted branch, a merge request, or no verdict.
        ValidationError: The body has not the form of this kind.
        DecodeError: The body is no JSON.
    """
    told = msgspec.json.decode(body, type=_GitLab)
    repository = told.project.path_with_namespace
    if told.object_kind == "push":
        if told.ref is None or told.after is None:
            raise msgspec.ValidationError("expected ref and after")
        if _is_gone(told.after):
            raise NothingToDo("the branch was deleted")
        return Commit(
            repository=repository,
            ref=told.ref,
            commit=told.after,
            author=told.user_username,
            changed_paths=_paths(told.commits),
        )
    tests = told.object_attributes if told.object_kind == "pipeline" else None
    if tests is None:
        raise NothingToDo(f"events of the kind {told.object_kind[:50]!r} tell of no commit")
    if tests.source in {"merge_request_event", "external_pull_request_event"}:
        raise NothingToDo("the tests are of a merge request")
    passed = _PASSED.get(tests.status)
    if passed is None:
        raise NothingToDo("the tests have no verdict")
    return Commit(
        repository=repository,
        ref=f"refs/{'tags' if tests.tag else 'heads'}/{tests.ref}",
        commit=tests.sha,
        author=told.user.username,
        tests_passed=passed,
    )


def read_ours(body: bytes) -> Commit:
    """Return the commit of a plain hook.

    Its body is `{"repository", "ref", "commit", "author"?, "changed_paths"?, "tests_passed"?,
    "folder"?, "delivery"?}`.

    Raises:
        ValidationError: The body has another form.
        DecodeError: The body is no JSON.
    """
    told = msgspec.json.decode(body, type=_Ours)
    return Commit(
        repository=told.repository,
        ref=told.ref,
        commit=told.commit,
        author=told.author,
        changed_paths=None if told.changed_paths is None else _few(told.changed_paths),
        tests_passed=told.tests_passed,
        folder=None if told.folder is None else told.folder.strip("/"),
        delivery=told.delivery,
    )


Reader = Callable[[bytes], Commit]


def _is_gone(commit: str) -> bool:
    return not commit.strip("0")


def _author(head: _GitHubHead | None) -> str:
    return (head.author.username or head.author.name) if head else ""


def _paths(changes: tuple[_Change, ...]) -> tuple[str, ...] | None:
    return _few(
        tuple(path for one in changes for path in (*one.added, *one.modified, *one.removed))
    )


def _few(paths: tuple[str, ...]) -> tuple[str, ...] | None:
    each = tuple(sorted(set(paths)))
    return each if len(each) <= MAX_PATHS else None
