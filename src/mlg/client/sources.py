"""What a script's files are: the digest of a model's folder, the commit of its code."""

import getpass
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from mlg.core.errors import NotFoundError

_GIT_S: Final = 5.0


class Digested(NamedTuple):
    """A file or a folder."""

    digest: str
    """sha256, lower-case hex."""
    size_bytes: int


def digested(path: Path) -> Digested:
    """Return the digest of a file, or of a folder, as the artifact store has it.

    A folder's is the sha256 of the lines that `sha256sum` prints for its files in path order.
    Links are followed.

    Raises:
        NotFoundError: There is no such file or folder.
    """
    if path.is_file():
        return Digested(_sha256(path), path.stat().st_size)
    if not path.is_dir():
        raise NotFoundError(
            "no such file or folder", where=str(path), hint="save the model, then record it."
        )
    files = {one.relative_to(path).as_posix(): one for one in path.rglob("*") if one.is_file()}
    lines = "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files))
    size = sum(one.stat().st_size for one in files.values())
    return Digested(hashlib.sha256(lines.encode()).hexdigest(), size)


def code_of(folder: Path) -> dict[str, Any] | None:
    """Return the commit that a folder is at, as a record has it; None without git.

    Args:
        folder: A folder of the script's repository.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or ""
    told: dict[str, Any] = {
        "commit": commit,
        "repository": without_secrets(_git(folder, "remote", "get-url", "origin") or ""),
        "branch": "" if branch == "HEAD" else branch,
    }
    return told if changed is None else {**told, "dirty": bool(changed)}


def account() -> str:
    """Return the name of the account that runs this; its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def without_secrets(address: str) -> str:
    """Return an address without password, query and fragment.

    Examples:
        >>> without_secrets("https://ada:token@example.org/ada/churn.git?x=1")
        'https://example.org/ada/churn.git'
        >>> without_secrets("git@example.org:ada/churn.git")
        'git@example.org:ada/churn.git'
    """
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args],
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
