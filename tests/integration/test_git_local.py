"""What git says of commits, from real repositories, and the hook that is put into them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlg.adapters.git_local import LocalGit
from mlg.cli.hook_install import HookOptions, install
from mlg.core.errors import ConflictError, ManifestError, NotFoundError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "Ada Å", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "A",
           "GIT_COMMITTER_EMAIL": "a@b.c", "GIT_CONFIG_GLOBAL": "/dev/null",
           "GIT_CONFIG_SYSTEM": "/dev/null"}  # fmt: skip
    done = subprocess.run(
        ["git", *words], cwd=folder, env={**os.environ, **who}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_sql", ".sql")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "movies"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch=main")
    return made


def test_a_commit_is_told_with_what_changed_since(folder: Path) -> None:
    first = commit(folder, a_sql="1", shop__b_sql="1")
    second = commit(folder, a_sql="2", **{"ä ö\n": "x"})
    git(folder, "mv", "a.sql", "c.sql")
    third = commit(folder)
    found = LocalGit(folder / "shop").commit()
    assert (found.commit, found.branch, found.author) == (third, "main", "Ada Å")
    assert found.changed_paths == ("a.sql", "c.sql")
    asked = LocalGit(folder)
    assert asked.commit(first).changed_paths == ("a.sql", "shop/b.sql")
    assert asked.commit(second).changed_paths == ("a.sql", "ä ö\n")
    assert asked.commit(since=first).changed_paths == ("a.sql", "c.sql", "ä ö\n")
    assert asked.commit(commit(folder)).changed_paths == ()


def test_what_is_not_here_makes_the_paths_unknown(folder: Path, tmp_path: Path) -> None:
    commit(folder, a="1")
    second = commit(folder, b="1")
    asked = LocalGit(folder)
    assert asked.commit(since="0" * 40).changed_paths is None  # a new branch
    assert asked.commit(since="f" * 40).changed_paths is None  # a forced push of long ago
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{folder}", "shallow")
    shallow = LocalGit(tmp_path / "shallow").commit()
    assert (shallow.commit, shallow.changed_paths) == (second, None)


def test_a_merge_is_compared_with_its_first_parent(folder: Path) -> None:
    commit(folder, a="1")
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, side="1")
    git(folder, "checkout", "--quiet", "main")
    commit(folder, b="1")
    git(folder, "merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert LocalGit(folder).commit().changed_paths == ("side",)


def test_names_and_folders(folder: Path, tmp_path: Path) -> None:
    commit(folder, shop__mlg="1")
    asked = LocalGit(folder)
    assert asked.repository() == "movies"
    assert asked.folder_of(folder / "mlg.yaml") == ""
    assert asked.folder_of(folder / "shop" / "mlg.yaml") == "shop"
    assert asked.folder_of(tmp_path / "mlg.yaml") is None
    for address in ("git@host:team/movies.git", "https://host/team/movies.git",
                    "ssh://git@host:22/team/movies"):  # fmt: skip
        git(folder, "remote", "add", "origin", address)
        assert asked.repository() == "team/movies"
        git(folder, "remote", "remove", "origin")
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
    bare = LocalGit(tmp_path / "bare.git")
    assert (bare.bare, bare.folder_of(folder / "mlg.yaml")) == (True, None)


def test_what_cannot_be_told_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="git rev-parse"):
        LocalGit(tmp_path)
    with pytest.raises(NotFoundError, match="no commit"):
        LocalGit(folder).commit()  # nothing is committed yet
    head = commit(folder, a="1")
    with pytest.raises(NotFoundError, match="no commit '--help'"):
        LocalGit(folder).commit("--help")
    git(folder, "checkout", "--quiet", "--detach")
    with pytest.raises(NotFoundError) as refused:
        LocalGit(folder).commit()
    assert "--branch" in refused.value.hint
    assert LocalGit(folder).commit(branch="refs/heads/main").commit == head


def test_within_a_hook_the_named_repository_is_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit(folder, a="1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert LocalGit(folder).commit().commit == head


def options(folder: Path, **changed: str) -> HookOptions:
    words = {"test": "true", "secret": "secret://env/KEY", "branch": "main",
             "manifest": "mlg.yaml", "url": "http://127.0.0.1:9", **changed}  # fmt: skip
    return HookOptions(tree=folder, home=None, **words)  # type: ignore[arg-type]


def test_a_hook_is_installed_once_and_another_one_is_kept(folder: Path) -> None:
    path, kept = install(folder, options(folder, test="echo 'it''s' \"$HOME\""))
    assert (path, kept) == (folder / ".git" / "hooks" / "post-commit", None)
    assert install(folder, options(folder)) == (path, None)
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    path.write_text("#!/bin/sh\ntouch ran\n")
    _, kept = install(folder, options(folder))
    assert kept == path.with_name("post-commit.local")
    path.write_text("#!/bin/sh\ntouch ran too\n")
    with pytest.raises(ConflictError, match="two other hooks"):
        install(folder, options(folder))
    assert "ran too" in path.read_text()
    for wrong in ({"secret": "s3cret"}, {"test": ""}, {"test": "a\nb"}):
        with pytest.raises(ManifestError):
            install(folder, options(folder, **wrong))


def test_a_commit_runs_the_hook_and_the_one_before_and_is_never_undone(folder: Path) -> None:
    path = folder / ".git" / "hooks" / "post-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\ntouch ran\n")
    path.chmod(0o755)
    install(folder, options(folder, test='echo "tested $(cat a)" > tested; false'))
    (folder / ".gitignore").write_text("ran\ntested\n")
    head = commit(folder, a="1")  # nobody listens, so it is not told
    assert (folder / "ran").exists()
    assert (folder / "tested").read_text() == "tested 1\n"
    assert LocalGit(folder).commit().commit == head
    assert git(folder, "for-each-ref", "refs/mlg") == ""
