"""The commands of commit hooks: send one, install one, look into one."""

import os
import time
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import typer

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.git_local import LocalGit
from mlg.adapters.network_http import HttpNetwork
from mlg.cli.hook_install import HookOptions, install
from mlg.cli.hook_sending import Sending, body_of, deliver, secret_of
from mlg.cli.instance import (
    FileOption,
    HomeOption,
    JsonOption,
    control_of,
    err,
    home_of,
    out,
    reported,
    show,
)
from mlg.core.errors import BackendError, ManifestError

_SECRET = typer.Option(
    "",
    "--secret",
    envvar="MLG_HOOK_SECRET",
    help="secret://env/NAME or secret://file/PATH (from the manifest's folder) of the key.",
)
_URL = typer.Option("", "--url", help="Address of the control plane; default that of the home.")


def send(
    *,
    tests: str = typer.Option(..., "--tests", help="passed, failed or unknown."),
    commit: str = typer.Option("HEAD", "--commit", help="The commit."),
    branch: str = typer.Option("", "--branch", help="Its branch; default the one checked out."),
    since: str = typer.Option(
        "", "--since", help="What the branch was before: all that changed from there on counts."
    ),
    repo: Path = typer.Option(Path(), "--repo", help="The git repository."),
    repository: str = typer.Option("", "--repository", help="Its name; default its origin's."),
    folder: str | None = typer.Option(
        None, "--folder", help="The manifest's folder in it; default where the manifest lies."
    ),
    delivery: str = typer.Option(
        "", "--delivery", help="Id of what is told; the same again starts nothing."
    ),
    secret: str = _SECRET,
    url: str = _URL,
    tries: int = typer.Option(6, "--tries", min=1, help="How often, with growing pauses."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be sent."),
    file: Path = FileOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Tell the control plane of a commit: whose, where, which paths it changed.

    If its tests passed, runs of the pipelines that it touches start. The same commit told
    again starts nothing.

    Example: mlg hook send --tests passed --secret secret://env/HOOK_SECRET
    """
    with reported(as_json):
        git = LocalGit(repo)
        place = folder if folder is not None else git.folder_of(file)
        body = body_of(
            git.commit(commit, branch=branch, since=since),
            repository=repository or git.repository(),
            tests=tests,
            folder=None if place is None else _from_top(place),
            delivery=delivery,
        )
        if dry_run:
            show(msgspec.json.decode(body), as_json, _print_body)
            return
        key = secret_of(secret, os.environ, file.resolve().parent)
        sending = Sending(url=url or _url_of(home_of(home, file)), body=body)
        answer = deliver(
            HttpNetwork(),
            sending,
            key,
            now=SystemClock().now,
            wait=time.sleep,
            tries=tries,
            note=lambda what: err.print(what, markup=False),
        )
        show(answer, as_json, _print_answer)


def install_hook(
    repo: Path = typer.Argument(Path(), help="The git repository, bare or not."),
    test: str = typer.Option(..., "--test", help="Shell command that tests a commit."),
    secret: str = _SECRET,
    branch: str = typer.Option("main", "--branch", help="The branch whose commits are told."),
    tree: Path | None = typer.Option(
        None, "--work-tree", help="Where a bare repository's commits are checked out."
    ),
    manifest: str = typer.Option("mlg.yaml", "--manifest", help="From the top of the tree."),
    url: str = _URL,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Let a plain git repository test its commits, apply their manifest and tell of them.

    A bare repository gets a post-receive hook, another one a post-commit hook. A hook that is
    there already is kept, and runs first.

    Example: mlg hook install /srv/movies.git --work-tree /srv/movies --test "make test" \
--secret secret://file//etc/mlg/hook.key
    """
    with reported(as_json):
        git = LocalGit(repo)
        if git.bare == (tree is None):
            raise ManifestError(
                "a bare repository needs a work tree, another one has its own",
                where="--work-tree",
                hint="give --work-tree for a bare repository only.",
            )
        top = tree or git.top()
        options = HookOptions(
            test=test,
            secret=secret,
            branch=branch,
            tree=top,
            manifest=manifest,
            home=home.resolve() if home else None,
            url=url,
        )
        path, kept = install(repo, options)
        done = {"hook": str(path), "kept": str(kept) if kept else None}
        show(done, as_json, _print_installed)


def _from_top(folder: str) -> str:
    """Return a folder's path from the top of the repository; empty for the top itself."""
    path = PurePosixPath(folder).as_posix().strip("/")
    return "" if path == "." else path


def _url_of(home: Path) -> str:
    """Return the address of the home's control plane.

    Raises:
        BackendError: None runs there.
    """
    control = control_of(home)
    if control is None:
        raise BackendError(
            "no control plane runs here, so nobody can be told",
            where=str(home),
            hint="start it (mlg up), or name it: --url http://127.0.0.1:7070",
        )
    return f"http://127.0.0.1:{control['port']}"


def _print_body(told: dict[str, Any]) -> None:
    for name, value in told.items():
        text = ", ".join(value) or "none" if isinstance(value, list) else value
        out.print(f"{name}: {text}", markup=False, soft_wrap=True)
    if "changed_paths" not in told:
        out.print("changed_paths: not known here, so every pipeline of the branch is touched")


def _print_answer(answer: dict[str, Any]) -> None:
    out.print(f"{answer['outcome']}: {answer['reason']}", markup=False, soft_wrap=True)
    for pipeline, run in zip(answer.get("pipelines", []), answer["runs"], strict=False):
        out.print(f"  {pipeline}: run {run}", markup=False, soft_wrap=True)


def _print_installed(done: dict[str, Any]) -> None:
    out.print(f"{done['hook']} tells of commits", markup=False, soft_wrap=True)
    if done["kept"]:
        out.print(f"{done['kept']} runs before it", markup=False, soft_wrap=True)
