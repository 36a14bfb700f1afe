"""YAML text to a plain tree in which every key and value knows its place.

YAML 1.2 by ruamel.yaml's composer (so `on` is a text); anchors, aliases and merge
keys are resolved here; duplicate keys, tags, several documents and what JSON
cannot hold are refused.
"""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mlg.core.errors import ManifestError

Scalar = str | int | float | bool | None

_TAG: Final = "tag:yaml.org,2002:"
_LARGEST: Final = 2**53 - 1
_MAX_NODES: Final = 20_000
_MAX_DEPTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the text; lines and columns count from 1."""

    line: int
    column: int

    def within(self, file: str) -> str:
        """Return the place as `file:line:column`."""
        return f"{file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake of the manifest."""

    place: Place
    what: str
    hint: str = ""


def refuse(problems: Iterable[Problem], file: str) -> None:
    """Raise the first problem in the order of the text, if there is any; others go to its hint.

    Raises:
        ManifestError: There is a problem.
    """
    ordered = sorted(set(problems), key=lambda p: (p.place.line, p.place.column, p.what))
    if not ordered:
        return
    first, *rest = ordered
    shown = "; ".join(f"{p.place.within(file)}: {p.what}" for p in rest[:20])
    more = f"{len(rest)} more: {shown}" if rest else ""
    more += f"; and {len(rest) - 20} more" if len(rest) > 20 else ""
    hint = "; ".join(part for part in (first.hint, more) if part)
    raise ManifestError(first.what, where=first.place.within(file), hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value of the tree and its place; a mapping also keeps the places of its keys."""

    place: Place
    value: "Scalar | list[Node] | dict[str, Node]"
    keys: dict[str, Place] = field(default_factory=dict[str, Place])


def plain(node: Node) -> Any:
    """Return the value of a node as built-in types, without places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def shown(node: Node) -> str:
    """Return how a message names a value: short, and with its type when it has no text."""
    value = node.value
    if isinstance(value, dict):
        return f"a mapping with {', '.join(list(value)[:3])}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def close_match(word: str, words: Iterable[str]) -> str:
    """Return `did you mean …?` for the nearest of the words, or nothing."""
    known = list(words)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    lower = [name for name in known if name.lower() == word.lower()]
    best = (lower or near)[:1]
    return f"did you mean {best[0]}?" if best else ""


def parse_tree(text: str, file: str) -> Node:
    """Return the tree of a YAML text.

    Args:
        text: The YAML document.
        file: How messages name the file.

    Raises:
        ManifestError: The text is no YAML, or holds what a manifest may not.
    """
    root, problem = _composed(text)
    if problem is not None:
        refuse([problem], file)
    builder = _Builder()
    node = builder.build(root, ())
    refuse(builder.problems, file)
    return node


def _composed(text: str) -> tuple[Any, Problem | None]:
    """Return the composer's graph, or what is wrong with the text."""
    start = Place(line=1, column=1)
    try:
        root: Any = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return None, _syntax_problem(error, text)
    except YAMLError as error:
        return None, _character_problem(error, text)
    except (RecursionError, ValueError):
        what = "expected a manifest, got YAML that is nested too deeply or broken"
        return None, Problem(place=start, what=what)
    if root is None:
        hint = "`mlg init` writes a manifest to start from."
        return None, Problem(
            place=start, what="expected a mapping, got an empty file", hint=hint
        )
    return root, None


def _syntax_problem(error: MarkedYAMLError, text: str) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    place = (
        Place(line=mark.line + 1, column=mark.column + 1) if mark else Place(line=1, column=1)
    )
    problem = str(error.problem or "broken YAML").strip()
    if mark and text[mark.index : mark.index + 1] == "\t":
        what, hint = "expected spaces, got a tab", "YAML indents with spaces only."
    elif problem == "but found another document":
        what, hint = "expected one YAML document, got a second one", "remove the line `---`."
    elif problem.startswith("mapping values are not allowed"):
        what = "expected a value, got a second `:` or a wrong indent"
        hint = "put a text that contains `: ` in quotes, or check the indent."
    elif problem.startswith("found undefined alias"):
        what = f"expected a known anchor, got {problem.removeprefix('found undefined alias ')}"
        hint = "an anchor `&name` must stand before its alias `*name`."
    elif problem.startswith("found character"):
        what = f"expected a value, {problem.replace('found', 'got')}"
        hint = "put a text that begins with this character in quotes."
    else:
        context = str(error.context or "").strip()
        what = f"expected YAML, got a mistake {context}: {problem}".replace(" :", ":")
        hint = "check the indent, brackets and quotes here and just before."
    return Problem(place=place, what=what, hint=hint)


def _character_problem(error: YAMLError, text: str) -> Problem:
    position = getattr(error, "position", 0)
    before = text[:position] if isinstance(position, int) else ""
    place = Place(
        line=before.count("\n") + 1, column=len(before) - (before.rfind("\n") + 1) + 1
    )
    return Problem(
        place=place,
        what="expected text, got a control character",
        hint="YAML allows line breaks, tabs inside quotes, and printable characters.",
    )


class _Builder:
    """Turns the composer's graph into a tree, collecting problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._count = 0

    def build(self, node: Any, above: tuple[int, ...], fallback: Place | None = None) -> Node:
        """Return the tree below a composed node; `above` holds the ids of its ancestors."""
        place = Place(line=node.start_mark.line + 1, column=node.start_mark.column + 1)
        self._count += 1
        if self._count > _MAX_NODES:
            if self._count == _MAX_NODES + 1:
                self._problem(place, f"expected at most {_MAX_NODES} values, got more", "")
            return Node(place=place, value=None)
        if id(node) in above:
            self._problem(place, "expected a tree, got an alias inside its own anchor", "")
            return Node(place=place, value=None)
        if len(above) >= _MAX_DEPTH:
            self._problem(place, f"expected at most {_MAX_DEPTH} levels, got more", "")
            return Node(place=place, value=None)
        below = (*above, id(node))
        if node.id == "scalar":
            value = self._scalar(node, place)
            empty = value is None and node.value == ""
            return Node(place=fallback if empty and fallback else place, value=value)
        self._check_tag(node, place, "seq" if node.id == "sequence" else "map")
        if node.id == "sequence":
            return Node(place=place, value=[self.build(child, below) for child in node.value])
        return self._mapping(node, place, below)

    def _mapping(self, node: Any, place: Place, below: tuple[int, ...]) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[Node] = []
        for key, child in node.value:
            at = Place(line=key.start_mark.line + 1, column=key.start_mark.column + 1)
            if key.id == "scalar" and str(key.tag) == f"{_TAG}merge":
                merged += self._merged(child, at, below)
                continue
            name = self._key(key, at)
            if name is None:
                continue
            if name in entries:
                first = keys[name]
                what = f"expected each key once, got {name!r} again"
                self._problem(at, what, f"it stands already at line {first.line}.")
                continue
            entries[name] = self.build(child, below, at)
            keys[name] = at
        for other in merged:
            if isinstance(other.value, dict):
                for name, child in other.value.items():
                    if name not in entries:
                        entries[name], keys[name] = child, other.keys[name]
        return Node(place=place, value=entries, keys=keys)

    def _merged(self, child: Any, at: Place, below: tuple[int, ...]) -> list[Node]:
        parts = (
            [self.build(one, below) for one in child.value] if child.id == "sequence" else []
        )
        parts = parts or [self.build(child, below)]
        if not all(isinstance(part.value, dict) for part in parts):
            self._problem(at, "expected a mapping to merge after <<", "write `<<: *anchor`.")
            return []
        return parts

    def _key(self, key: Any, at: Place) -> str | None:
        tag = str(key.tag)
        if key.id != "scalar" or tag not in {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"}:
            got = key.value if key.id == "scalar" else f"a {key.id}"
            hint = "put the key in quotes." if key.id == "scalar" else ""
            if key.value == "on":
                hint = "remove the line `%YAML 1.1`: in YAML 1.2 `on` is a text."
            self._problem(at, f"expected a text as key, got {got}", hint)
            return None
        return str(key.value)

    def _scalar(self, node: Any, place: Place) -> Scalar:
        kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if kind in {"str", "timestamp", "value", "merge"}:
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in {"true", "yes", "on"}
        if kind == "int":
            number = _integer(text)
            if number is None or abs(number) > _LARGEST:
                self._problem(place, f"expected a whole number up to 2^53, got {text}", "")
            return number
        if kind == "float":
            value = _float(text)
            if value is None:
                what = f"expected a finite number, got {text}"
                self._problem(place, what, "JSON has no infinity and no NaN.")
            return value
        self._check_tag(node, place, "str")
        return text

    def _check_tag(self, node: Any, place: Place, kind: str) -> None:
        if str(node.tag) != f"{_TAG}{kind}":
            tag = str(node.tag).replace(_TAG, "!!")
            self._problem(
                place, f"expected a plain value, got the tag {tag}", "remove the tag."
            )

    def _problem(self, place: Place, what: str, hint: str) -> None:
        self.problems.append(Problem(place=place, what=what, hint=hint))


def _integer(text: str) -> int | None:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").replace("_", "")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2].lower(), 10)
    digits = digits[2:] if base != 10 else digits
    if not digits or len(digits) > 64 or re.fullmatch(r"[0-9a-fA-F]+", digits) is None:
        return None
    try:
        return sign * int(digits, base)
    except ValueError:
        return None


def _float(text: str) -> float | None:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
