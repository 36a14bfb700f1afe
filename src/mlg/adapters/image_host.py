"""What an image takes from this machine: its Python, the C library, installed packages.

Nothing of the operating system but what the loader says these need: no shell, no package
manager. Byte code is made anew from the source, in a form that is the same each time.
"""

import hashlib
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Final

from mlg.adapters.bytecode import bytecode_of
from mlg.adapters.layer_pool import TreeEntry
from mlg.core.errors import BackendError, NotFoundError

PACKAGES: Final = "opt/mlg/packages"
"""Where the packages of `serving.lock` lie in an image."""
LIBRARIES: Final = "opt/mlg/libraries"
"""Where the shared libraries lie that packages need and do not bring, glibc aside."""
USER: Final = 65_532
PLACES: Final = 2
"""Number of what lies where; another one makes the cached layers anew."""

_PREFIX: Final = "usr/local"
_SKIPPED_FOLDERS: Final = frozenset(
    ("__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip",
     "site-packages", "dist-packages", "pydoc_data")
)  # fmt: skip
_SKIPPED_STDLIB: Final = re.compile(
    r"^(_tkinter|_test.*|_xxtestfuzz|_ctypes_test|xxlimited.*)\."
)
_SKIPPED_SUFFIXES: Final = frozenset(
    (".pyc", ".pyo", ".pyi", ".pxd", ".pyx", ".h", ".hpp", ".a")
)
_SKIPPED_RECORDS: Final = frozenset(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
_GLIBC: Final = re.compile(
    r"^(ld-linux.*|ld64|libc|libm|libdl|libpthread|librt|libutil|libresolv|libanl|libmvec"
    r"|libnss_\w+|libcrypt)(-[\d.]+)?\.so"
)
_GLIBC_FILES: Final = (
    "libanl.so.1", "libdl.so.2", "libm.so.6", "libmvec.so.1", "libnss_dns.so.2",
    "libnss_files.so.2", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libutil.so.1",
)  # fmt: skip
_FOUND: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$")
_CERTIFICATES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_ETC: Final = {
    "etc/passwd": f"root:x:0:0:root:/root:/bin/false\n"
    f"mlg:x:{USER}:{USER}:mlg:/opt/mlg:/bin/false\n",
    "etc/group": f"root:x:0:\nmlg:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def base_entries() -> Iterator[TreeEntry]:
    """Yield the root filesystem: Python, its library, the C library, certificates, users.

    Raises:
        BackendError: The loader cannot say what Python needs.
    """
    python = _interpreter()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_paths()["stdlib"])
    modules = list(_library(library, f"{_PREFIX}/{sys.platlibdir}/{version}"))
    modules += _bytecode(modules)
    yield TreeEntry(path=f"{_PREFIX}/bin/{version}", source=python, mode=0o755)
    yield TreeEntry(path=f"{_PREFIX}/bin/python3", link=version)
    yield TreeEntry(path=f"{_PREFIX}/bin/python", link=version)
    yield from modules
    needed = libraries_of([python, *(e.source for e in modules if e.source and _is_elf(e))])
    home = _beside_libc(needed)
    for name in _GLIBC_FILES:  # packages made for an older C library ask for its parts by name
        if (home / name).exists():
            needed.setdefault(name, home / name)
    for name, path in sorted(needed.items()):
        # the loader has the path that programs name; the rest lies where it looks first
        at = path if name.startswith("ld-") else home / name
        yield TreeEntry(path=_relative(at), source=path.resolve(), mode=0o755)
    for name, text in _ETC.items():
        yield TreeEntry(path=name, content=text.encode())
    for name in _CERTIFICATES:
        if Path(name).is_file():
            at = "etc/ssl/certs/ca-certificates.crt"
            yield TreeEntry(path=at, source=Path(name).resolve())
            break
    yield TreeEntry(path="tmp", folder=True, mode=0o1777)


def package_entries(lock: str) -> Iterator[TreeEntry]:
    """Yield the files of a lock's packages, and the libraries that they do not bring.

    Args:
        lock: Lines of `name==version`; what is installed here must be exactly that.

    Raises:
        NotFoundError: A package is not installed in that version.
        BackendError: The loader cannot say what they need.
    """
    entries: dict[str, TreeEntry] = {}
    for line in lock.splitlines():
        name, _, version = line.partition("==")
        if version:
            entries |= {entry.path: entry for entry in _files_of(name, version)}
    yield from entries.values()
    yield from _bytecode(entries.values())
    binaries = [e.source for e in entries.values() if e.source and _is_elf(e)]
    own = {source.name for source in binaries}
    for name, path in sorted(libraries_of(binaries).items()):
        if name not in own and not _GLIBC.match(name):
            yield TreeEntry(path=f"{LIBRARIES}/{name}", source=path.resolve(), mode=0o755)


def base_key() -> str:
    """Return the digest of what the base depends on: another Python, another C library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    told = [str(PLACES), sys.version, *sorted(f"{n}:{_ETC[n]}" for n in _ETC)]
    watched = [_interpreter(), library, library / "os.py", library / "lib-dynload"]
    watched += libraries_of([_interpreter()]).values()
    watched += [Path(name) for name in _CERTIFICATES]
    for path in watched:
        if path.exists():
            found = path.stat()
            told.append(f"{path}:{found.st_size}:{found.st_mtime_ns}")
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def packages_key(lock: str) -> str:
    """Return the digest of what the packages' layer depends on."""
    told = [str(PLACES), lock]
    for line in lock.splitlines():
        name, _, version = line.partition("==")
        if version:
            record = _record_of(name)
            told.append(f"{name}:{record.stat().st_mtime_ns if record else 0}")
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def libraries_of(files: Sequence[Path]) -> dict[str, Path]:
    """Return the shared libraries that programs need, by the name they are asked for.

    What lies under the folders of the files themselves is left out where a file brings it.

    Raises:
        BackendError: `ldd` is not there.
    """
    if not files:
        return {}
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["ldd", *map(str, files)], env=env, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise BackendError(
            f"what Python needs cannot be found: {error.strerror}",
            where="ldd",
            hint="install libc-bin, or build on a base: --base oci:PATH.",
        ) from error
    found: dict[str, Path] = {}
    brought = {file.resolve() for file in files}
    for line in done.stdout.splitlines():
        match = _FOUND.match(line)
        if match is None:
            continue
        path = Path(match[2])
        if path.resolve() not in brought:
            found.setdefault(match[1] if match[1] and "/" not in match[1] else path.name, path)
    return found


def _interpreter() -> Path:
    return Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))


def _library(library: Path, at: str) -> Iterator[TreeEntry]:
    """Yield the standard library, without what serves development only."""
    for file in _walked(library):
        path = file.relative_to(library)
        development = path.parts[0].startswith("config-") or _SKIPPED_STDLIB.match(file.name)
        if not development and file.suffix not in _SKIPPED_SUFFIXES:
            yield _entry(f"{at}/{path.as_posix()}", file)


def _walked(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            yield Path(root) / name


def _files_of(name: str, version: str) -> Iterator[TreeEntry]:
    try:
        package = distribution(name)
        found = package.version
    except PackageNotFoundError:
        package, found = None, "none"
    if package is None or found != version:
        raise NotFoundError(
            f"{name}=={version} is asked for, {found} is installed",
            where="serving.lock",
            hint="install the packages of serving.lock, or run the pipeline again.",
        )
    for file in package.files or ():
        parts = PurePosixPath(file.as_posix()).parts
        unwanted = _SKIPPED_FOLDERS.intersection(parts[:-1]) or parts[0] == ".."
        record = parts[0].endswith(".dist-info") and parts[-1] in _SKIPPED_RECORDS
        source = Path(str(file.locate()))
        if unwanted or record or source.suffix in _SKIPPED_SUFFIXES or not source.is_file():
            continue
        yield _entry(f"{PACKAGES}/{'/'.join(parts)}", source)


def _record_of(name: str) -> Path | None:
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name == "RECORD":
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def _entry(path: str, file: Path) -> TreeEntry:
    runs = bool(file.stat().st_mode & stat.S_IXUSR)
    return TreeEntry(path=path, source=file, mode=0o755 if runs else 0o644)


def _bytecode(entries: Iterable[TreeEntry]) -> list[TreeEntry]:
    """Return the byte code of modules, for containers that may not write their own."""
    made = (
        bytecode_of(entry.path, entry.source.read_bytes())
        for entry in entries
        if entry.source is not None and entry.path.endswith(".py")
    )
    return [TreeEntry(path=one[0], content=one[1]) for one in made if one is not None]


def _is_elf(entry: TreeEntry) -> bool:
    name = PurePosixPath(entry.path).name
    return name.endswith(".so") or ".so." in name


def _beside_libc(needed: dict[str, Path]) -> Path:
    """Return the folder in which the loader finds the C library, and so the others.

    Raises:
        BackendError: There is no C library that is found by itself.
    """
    for name, path in needed.items():
        if name.startswith("libc."):
            return path.parent
    raise BackendError(
        "this Python needs no shared C library",
        where=str(_interpreter()),
        hint="build on a base: --base oci:PATH.",
    )


def _relative(path: Path | PurePosixPath) -> str:
    return path.as_posix().lstrip("/")
