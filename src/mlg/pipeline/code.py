"""Which code a step runs: a function and every project module that it imports."""

import ast
import hashlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import mlg
from mlg.core.errors import ManifestError
from mlg.core.uris import Digest
from mlg.pipeline.config import sha256

_BUILTIN_ROOMS: Final = ("recsys", "pipeline")
_SKIPPED: Final = frozenset({"__pycache__", "node_modules"})


def python_digest(target: str, folder: Path) -> Digest:
    """Return the digest of `module:function` and of all that it imports inside the folder.

    Imports are read from the source, so nothing runs; an import by a computed name is not
    seen.

    Raises:
        ManifestError: There is no such module, or a source is no Python.
    """
    return sha256(
        {
            "target": target,
            "modules": {name: _sha(path) for name, path in modules(target, folder).items()},
        }
    )


def sql_digest(path: str, folder: Path) -> Digest:
    """Return the digest of a SQL file.

    Raises:
        ManifestError: There is no such file.
    """
    return Digest(_sha(inside(path, folder)))


def source_digest(uri: str, folder: Path) -> Digest:
    """Return what identifies a source's content before it is read.

    A file is known by its bytes; a named source by its URI, because its loader pins the
    digest of what it accepts.
    """
    path = source_file(uri, folder)
    return Digest(_sha(path)) if path is not None else sha256({"uri": uri})


def source_file(uri: str, folder: Path) -> Path | None:
    """Return the file that a source is; None of one that is no file, or is not there."""
    scheme, _, rest = uri.rpartition(":") if "://" not in uri else uri.partition("://")
    path = folder / rest
    return path if scheme in {"", "file", "csv", "parquet"} and path.is_file() else None


@cache
def builtin_digest() -> Digest:
    """Return the digest of mlg's own code that trains, evaluates and packages."""
    root = Path(mlg.__file__).parent
    sources = {
        path.relative_to(root).as_posix(): _sha(path)
        for room in _BUILTIN_ROOMS
        for path in sorted((root / room).rglob("*.py"))
    }
    return sha256(sources)


def modules(target: str, folder: Path, *, key: str = "python") -> dict[str, Path]:
    """Return the project modules behind `module:function`, by name, with their files.

    Args:
        target: `module:function` or `module:Class`.
        folder: The project.
        key: Key of the manifest that named it, for errors.

    Raises:
        ManifestError: There is no such module, or a source is no Python.
    """
    module = target.partition(":")[0]
    if _file(module, folder) is None:
        raise ManifestError(
            f"expected a module {module!r} beside the manifest, found none",
            where=target,
            hint=f"make {module.replace('.', '/')}.py, or correct `{key}:`.",
        )
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name, folder)
        if path is None or name in found:
            continue
        found[name] = path
        parents = name.split(".")[:-1]
        waiting += [".".join(parents[: i + 1]) for i in range(len(parents))]
        waiting += _imports(name, path)
    return dict(sorted(found.items()))


def inside(path: str, folder: Path) -> Path:
    """Return the file that a manifest names, which must lie in its folder.

    Raises:
        ManifestError: There is no such file, or it lies elsewhere.
    """
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ManifestError(
            "expected a file beside the manifest, found none",
            where=path,
            hint="paths are relative to the manifest's folder; check the spelling.",
        )
    return file


def stage(folder: Path, target: Path, *, without: Path | None = None) -> None:
    """Copy what belongs to a project, so that runs use this copy whatever happens later.

    Hidden files, caches and the instance's home (`without`) stay behind.
    """
    for path in project_files(folder, without=without):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def project_files(folder: Path, *, without: Path | None = None) -> tuple[Path, ...]:
    """Return the files of a project, sorted: all but hidden ones, caches and `without`."""
    home = without.resolve() if without else None

    def walk(here: Path) -> Iterator[Path]:
        for path in sorted(here.iterdir()):
            hidden = path.name.startswith(".") or path.name in _SKIPPED
            if hidden or path.is_symlink() or path.resolve() == home:
                continue
            if path.is_dir():
                yield from walk(path)
            elif path.is_file() and path.suffix != ".pyc":
                yield path

    return tuple(walk(folder))


def _file(module: str, folder: Path) -> Path | None:
    stem = folder.joinpath(*module.split("."))
    for path in (stem / "__init__.py", stem.with_name(stem.name + ".py")):
        if path.is_file():
            return path
    return None


def _imports(name: str, path: Path) -> list[str]:
    """Return every name that the module may import, modules and attributes alike.

    Raises:
        ManifestError: The source is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise ManifestError(
            f"expected Python, got {error}",
            where=f"{path.name}:{getattr(error, 'lineno', None) or 1}",
            hint="correct the module; `python -m py_compile` shows the place.",
        ) from error
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".") if package else []
                kept = parts[: len(parts) - node.level + 1]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            found.append(base)
            found += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            found += _by_text(node)
    return [item for item in found if item]


def _by_text(node: ast.Call) -> list[str]:
    """Return the module of `import_module("name")` and `__import__("name")`."""
    callee = node.func.attr if isinstance(node.func, ast.Attribute) else None
    callee = node.func.id if isinstance(node.func, ast.Name) else callee
    if callee not in {"import_module", "__import__"} or not node.args:
        return []
    first = node.args[0]
    ok = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return [str(first.value)] if ok and isinstance(first, ast.Constant) else []


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
