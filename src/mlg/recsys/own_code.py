"""Code of a model of one's own: imported from checked bytes, never from a folder.

What was checked against its digest is what runs, and nothing is written beside it.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module, invalidate_caches
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, Final

from mlg.core.errors import ManifestError

PLACE: Final = "model-code/"
"""What the file names of such code begin with, in tracebacks."""
_TAKEN: Final = frozenset(sys.stdlib_module_names) | {"mlg"}
METHODS: Final = ("fit", "recommend", "save", "load")


class CodeFinder(MetaPathFinder, SourceLoader):
    """Finds and loads modules among texts by path.

    Args:
        files: Source by POSIX path, as `movies/rank.py`.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)
        self._paths: dict[str, str] = {}
        for path in sorted(files):
            parts = PurePosixPath(path).with_suffix("").parts
            package = parts[-1] == "__init__"
            self._paths[".".join(parts[:-1] if package else parts)] = path

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modules, sorted."""
        return tuple(sorted(self._paths))

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how to load one of the modules; None for others."""
        found = self._paths.get(fullname)
        if found is None:
            inner = any(name.startswith(f"{fullname}.") for name in self._paths)
            return ModuleSpec(fullname, None, is_package=True) if inner else None
        package = found.endswith("__init__.py")
        return spec_from_loader(fullname, self, origin=PLACE + found, is_package=package)

    def get_filename(self, fullname: str) -> str:
        """Return where the source is said to be."""
        return PLACE + self._paths[fullname]

    def get_data(self, path: str) -> bytes:
        """Return a source.

        Raises:
            OSError: There is no such file.
        """
        try:
            return self._files[path.removeprefix(PLACE)]
        except KeyError as error:
            raise OSError(f"no such file: {path}") from error


def own_class(target: str, files: Mapping[str, bytes]) -> Any:
    """Import `module:Class` from these files alone and return the class.

    The modules stay importable for the process, in place of those of an earlier call.

    Args:
        target: `module:Class`.
        files: Source by POSIX path.

    Raises:
        ManifestError: There is no such module or class, a library is missing, the class
            lacks a method, or a module has a name of Python's or of mlg.
    """
    module_name, _, name = target.partition(":")
    finder = CodeFinder(files)
    taken = {one.partition(".")[0] for one in finder.names} & _TAKEN
    if taken:
        raise ManifestError(
            f"expected modules with names of their own, got {min(taken)!r}",
            where=target,
            hint="Python or mlg has a module of this name; call yours otherwise.",
        )
    _install(finder)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ManifestError(
            f"no module named {error.name!r}",
            where=target,
            hint="put the module beside the manifest, or install the library that it needs.",
        ) from error
    found: Any = getattr(module, name, None)
    if not isinstance(found, type):
        there = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise ManifestError(
            f"expected a class {name!r} in {module_name}, found {', '.join(there) or 'none'}",
            where=target,
            hint="correct the name after the colon.",
        )
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise ManifestError(
            f"expected the methods {', '.join(METHODS)}, {missing[0]} is missing",
            where=target,
            hint="see docs/own-model.md.",
        )
    return found


def _install(finder: CodeFinder) -> None:
    """Let the finder be the only one of its kind, and first; drop modules of its names."""
    ours = [one for one in sys.meta_path if isinstance(one, CodeFinder)]
    tops = {name.partition(".")[0] for one in (finder, *ours) for name in one.names}
    for name in list(sys.modules):
        if name.partition(".")[0] in tops:
            del sys.modules[name]
    for one in ours:
        sys.meta_path.remove(one)
    sys.meta_path.insert(0, finder)
    invalidate_caches()
