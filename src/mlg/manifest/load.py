"""A manifest file to a checked, typed value with the places of all that it says."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.core.errors import ManifestError
from mlg.core.uris import Digest
from mlg.manifest.canonical import canonical_json
from mlg.manifest.check import check
from mlg.manifest.read import Reader, converted
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.tree import Node, Place, Problem, parse_tree, plain, refuse

_MAX_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One manifest: typed, canonical, and able to say where each thing stands."""

    spec: ManifestSpec
    source: str
    """Canonical JSON (RFC 8785) of `spec`, without defaults; see `manifest_from_source`."""
    digest: Digest
    """sha256 of `source`: comments, order, units and defaults spelled out do not change it."""
    file: str = field(default="mlg.yaml", compare=False)
    """How messages name the file."""
    tree: Node | None = field(default=None, compare=False, repr=False)
    """The YAML with places; None for a manifest that was read from its source."""

    def where(self, *path: str | int) -> str:
        """Return `file:line:column` of what stands at a path of YAML keys and list indices.

        A path that leads too far gives the place where it stops existing; a manifest
        without places gives `file: path`.
        """
        if self.tree is None:
            return ": ".join(part for part in (self.file, ".".join(map(str, path))) if part)
        return place_of(self.tree, path).within(self.file)

    def paths(self, pattern: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the paths of keys that match a pattern in which `*` is any key, sorted."""
        content: Any = plain(self.tree) if self.tree else msgspec.json.decode(self.source)
        found: list[tuple[tuple[str, ...], Any]] = [((), content)]
        for part in pattern:
            found = [
                ((*path, key), value[key])
                for path, value in found
                if isinstance(value, dict)
                for key in sorted(value)
                if part in {"*", key}
            ]
        return tuple(path for path, _ in found)


def place_of(tree: Node, path: tuple[str | int, ...]) -> Place:
    """Return the place of a path: of a value where it is a scalar, else of its key."""
    node, place = tree, tree.place
    for part in path:
        if isinstance(node.value, dict) and isinstance(part, str) and part in node.value:
            key = node.keys[part]
            node = node.value[part]
            place = key if isinstance(node.value, dict | list) else node.place
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            place = node.place
        else:
            break
    return place


def parse_manifest(text: str, file: str = "mlg.yaml") -> Manifest:
    """Return the manifest of a YAML text.

    Args:
        text: The YAML document.
        file: How messages name the file.

    Raises:
        ManifestError: Something in it is wrong; the first mistake, the others in the hint.
    """
    tree = parse_tree(text, file)
    reader = Reader()
    read = reader.read(tree)
    refuse(reader.problems, file)
    spec = converted(read)
    problems = [
        Problem(place=place_of(tree, found.path), what=found.what, hint=found.hint)
        for found in check(spec)
    ]
    refuse(problems, file)
    return _manifest(spec, file, tree)


def load_manifest(path: Path | str) -> Manifest:
    """Return the manifest in a file; messages name the file as it was given.

    Raises:
        ManifestError: The file cannot be read, or something in it is wrong.
    """
    file = str(path)
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ManifestError(
            "expected a manifest file, got nothing at this path",
            where=file,
            hint="name it with `-f FILE`, or write one with `mlg init`.",
        ) from error
    except IsADirectoryError as error:
        raise ManifestError(
            "expected a manifest file, got a folder", where=file, hint=f"try {file}/mlg.yaml."
        ) from error
    except OSError as error:
        raise ManifestError(
            f"expected a readable file, got: {error.strerror or error}",
            where=file,
            hint="check the path and its permissions.",
        ) from error
    if len(content) > _MAX_BYTES:
        raise ManifestError(
            "expected a manifest of at most 4 MiB, got more",
            where=file,
            hint="data belongs in datasets, not in the manifest.",
        )
    return parse_manifest(_decoded(content, file), file)


def manifest_from_source(source: str, file: str = "mlg.yaml") -> Manifest:
    """Return the manifest whose `source` is given, without reading any file.

    Raises:
        ManifestError: The text is not the source of a manifest of this version.
    """
    try:
        spec = msgspec.json.decode(source.encode(), type=ManifestSpec)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ManifestError(
            f"expected the stored source of a manifest, got: {error}",
            where=file,
            hint="apply the manifest's YAML again.",
        ) from error
    return _manifest(spec, file, None)


def _manifest(spec: ManifestSpec, file: str, tree: Node | None) -> Manifest:
    source = canonical_json(spec)
    # what is read back later is what is used now: order of keys, 1.0 and 1
    spec = msgspec.json.decode(source, type=ManifestSpec)
    digest = Digest(hashlib.sha256(source.encode()).hexdigest())
    return Manifest(spec=spec, source=source, digest=digest, file=file, tree=tree)


def _decoded(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        place = Place(line=before.count(b"\n") + 1, column=column)
        raise ManifestError(
            f"expected UTF-8 text, got the byte 0x{content[error.start]:02x}",
            where=place.within(file),
            hint="save the file as UTF-8.",
        ) from error
