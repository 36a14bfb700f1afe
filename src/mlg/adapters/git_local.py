"""A local git repository, asked through the `git` command."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mlg.core.errors import BackendError, NotFoundError

_NOBODY: Final = "0"
"""What the id of a commit is made of that is none: a new branch came from it."""
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    """One commit, as a hook tells it."""

    commit: str
    """Full id, lower-case hex."""
    branch: str
    author: str
    """The author's name."""
    changed_paths: tuple[str, ...] | None
    """Relative to the repository, both names of what was renamed; None where what it follows
    is not here (a new branch, a shallow clone)."""


class LocalGit:
    """Reads one repository, bare or with a work tree.

    `GIT_*` variables that point to a repository are ignored, so it may be asked within a hook.

    Args:
        folder: The repository, or a folder in its work tree.

    Raises:
        NotFoundError: There is no git, or no repository.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bare = self._ask("rev-parse", "--is-bare-repository") == "true"

    def commit(self, commit: str = "HEAD", *, branch: str = "", since: str = "") -> GitCommit:
        """Return one commit.

        Args:
            commit: Its name.
            branch: Where it is; empty: the branch that is checked out.
            since: What the branch was before; the paths are those of all commits from there
                on. Empty: those of this commit alone, against its first parent.

        Raises:
            NotFoundError: No such commit, or it has no branch and none is named.
        """
        found = self._resolved(commit)
        if found is None:
            raise NotFoundError(
                f"no commit {commit!r}",
                where=str(self._folder),
                hint="name one that git log shows.",
            )
        if not branch:
            branch = self._try("symbolic-ref", "--quiet", "--short", "HEAD") or ""
        if not branch:
            raise NotFoundError(
                "no branch is checked out", where=str(self._folder), hint="name it: --branch"
            )
        return GitCommit(
            commit=found,
            branch=branch.removeprefix("refs/heads/"),
            author=self._ask("show", "--no-patch", "--format=%an", found),
            changed_paths=self._changed(found, since),
        )

    def repository(self) -> str:
        """Return the repository's name: that of its origin, else that of its folder."""
        address = self._try("config", "--get", "remote.origin.url") or ""
        # git@host:group/name.git is no URL
        path = urlsplit(address).path if "://" in address else address.rpartition(":")[2]
        name = path.strip("/").removesuffix(".git")
        if name and not Path(address).is_absolute():
            return name
        shared = (self._folder / self._ask("rev-parse", "--git-common-dir")).resolve()
        return (shared.parent if shared.name == ".git" else shared).name.removesuffix(".git")

    def folder_of(self, file: Path) -> str | None:
        """Return the folder of a file, from the top of the work tree: empty for the top itself.

        None where there is no work tree, or the file lies outside it.
        """
        if self.bare:
            return None
        top = self.top()
        parent = file.resolve().parent
        if not parent.is_relative_to(top):
            return None
        inside = parent.relative_to(top).as_posix()
        return "" if inside == "." else inside

    def top(self) -> Path:
        """Return the top of the work tree.

        Raises:
            NotFoundError: It has none.
        """
        return Path(self._ask("rev-parse", "--show-toplevel")).resolve()

    def hooks(self) -> Path:
        """Return the folder of the repository's hooks."""
        said = Path(self._ask("rev-parse", "--git-path", "hooks"))
        return said if said.is_absolute() else (self._folder / said).resolve()

    def _changed(self, commit: str, since: str) -> tuple[str, ...] | None:
        parent = self._resolved(since) if since else self._resolved(f"{commit}^1")
        if parent is None and (since or not self._is_root(commit)):
            return None
        if parent is None:
            listed = self._ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
        else:
            listed = self._ask("diff", "--name-only", "--no-renames", "-z", parent, commit)
        return tuple(sorted(path for path in listed.split("\0") if path))

    def _is_root(self, commit: str) -> bool:
        """Whether the commit itself names no parent; a shallow clone only lacks it."""
        head = self._ask("cat-file", "commit", commit).partition("\n\n")[0]
        return not any(line.startswith("parent ") for line in head.splitlines())

    def _resolved(self, name: str) -> str | None:
        if not name.strip(_NOBODY) or name.startswith("-"):
            return None
        return self._try("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def _try(self, *words: str) -> str | None:
        done = self._run(words)
        return done.stdout.strip() if done.returncode == 0 else None

    def _ask(self, *words: str) -> str:
        done = self._run(words)
        if done.returncode:
            raise NotFoundError(
                f"git {words[0]}: {done.stderr.strip() or 'no answer'}",
                where=str(self._folder),
                hint="is this a git repository that this account may read?",
            )
        return done.stdout.strip()

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name not in _LOCAL}
        try:
            return subprocess.run(
                ["git", "-C", str(self._folder), *words],
                env={**env, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise NotFoundError(
                "there is no git here", where="git", hint="install git."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise BackendError(
                f"git {words[0]} took longer than {_TIMEOUT_S:g} s", where=str(self._folder)
            ) from error


_LOCAL: Final = frozenset(
    (
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG",
        "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    )
)  # fmt: skip
"""What `git rev-parse --local-env-vars` lists, and the quarantine of a push."""
