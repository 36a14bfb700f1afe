"""Tree to built-in types by the specifications: checks, unit conversion, every mistake at once.

The specifications' msgspec types are the only description of the form: this walks
them beside the tree. What comes out converts into `ManifestSpec` without an error.
"""

import re
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, inspect

from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import STEP_KEYS
from mlg.manifest.tree import Node, Place, Problem, close_match, plain, shown
from mlg.manifest.units import UNITS

_MISSING: Final[Any] = object()


@cache
def root_type() -> inspect.StructType:
    """Return the description of the whole manifest.

    Raises:
        TypeError: `ManifestSpec` is no struct.
    """
    found = inspect.type_info(ManifestSpec)
    if not isinstance(found, inspect.StructType):
        raise TypeError("ManifestSpec must be a struct")
    return found


def exactly_one(cls: type) -> tuple[str, ...]:
    """Return the keys of which one and only one must be given; empty without such a rule."""
    return getattr(cls, "EXACTLY_ONE", ())


class Reader:
    """Reads one tree; `problems` holds every mistake that it met."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def read(self, node: Node) -> dict[str, Any]:
        """Return the manifest as built-in types with converted units.

        Top-level keys that begin with `x-` are the user's own and are left out.
        """
        if isinstance(node.value, dict):
            kept = {key: child for key, child in node.value.items() if not key.startswith("x-")}
            node = Node(place=node.place, value=kept, keys=node.keys)
        value = self._value(node, root_type(), "", None)
        return value if isinstance(value, dict) else {}

    def _problem(self, place: Place, path: str, what: str, hint: str = "") -> Any:
        label = f"{path}: " if path else ""
        self.problems.append(Problem(place=place, what=f"{label}{what}", hint=hint))
        return _MISSING

    def _value(self, node: Node, kind: Any, path: str, extra: dict[str, Any] | None) -> Any:
        if isinstance(kind, inspect.Metadata):
            return self._value(node, kind.type, path, kind.extra or extra)
        if isinstance(kind, inspect.UnionType):
            return self._union(node, kind, path, extra)
        expected = (extra or {}).get("expected")
        unit = (extra or {}).get("unit")
        if unit is not None:
            return self._quantity(node, kind, path, unit)
        if isinstance(kind, inspect.StructType):
            return self._struct(node, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._dict(node, kind, path, expected)
        if isinstance(kind, inspect.VarTupleType | inspect.TupleType):
            return self._tuple(node, kind, path, extra or {})
        if isinstance(kind, inspect.AnyType):
            return plain(node)
        return self._scalar(node, kind, path, expected)

    def _union(
        self, node: Node, kind: inspect.UnionType, path: str, extra: dict[str, Any] | None
    ) -> Any:
        parts = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        if len(parts) < len(kind.types) and node.value is None and path.endswith("]"):
            return None  # a bound of a range may be null, a key may not
        if len(parts) == 1:
            return self._value(node, parts[0], path, extra)
        structs = [one for one in parts if isinstance(one, inspect.StructType)]
        if structs:
            return self._step(node, structs, path)
        if isinstance(node.value, str | int | float | bool):
            return node.value
        return self._problem(
            node.place, path, f"expected a text or a number, got {shown(node)}"
        )

    def _step(self, node: Node, structs: list[inspect.StructType], path: str) -> Any:
        if not isinstance(node.value, dict):
            return self._problem(node.place, path, f"expected a step, got {shown(node)}")
        given = [key for key in STEP_KEYS if key in node.value]
        words = ", ".join(STEP_KEYS)
        if not given:
            near = next((close_match(key, STEP_KEYS) for key in node.value), "")
            what = f"expected one of the keys {words}, got {shown(node)}"
            return self._problem(
                node.place, path, what, near or "the key tells the step's kind."
            )
        if len(given) > 1:
            what = f"expected one of the keys {words}, got {' and '.join(given)}"
            hint = "make two steps, or remove one key."
            return self._problem(node.keys[given[1]], path, what, hint)
        kind = next(one for one in structs if one.cls is STEP_KEYS[given[0]])
        value = self._struct(node, kind, path)
        return value if value is _MISSING else {"kind": kind.tag, **value}

    def _struct(self, node: Node, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(node.value, dict):
            names = ", ".join(field.encode_name for field in kind.fields[:4])
            what = f"expected a mapping with {names}, got {shown(node)}"
            return self._problem(node.place, path, what)
        fields = {field.encode_name: field for field in kind.fields}
        whole = True
        for key in node.value:
            if key not in fields:
                whole = False
                what = f"expected one of {', '.join(fields)}, got the key {key!r}"
                missing = [name for name in fields if name not in node.value]
                self._problem(node.keys[key], path, what, close_match(key, missing or fields))
        read: dict[str, Any] = {}
        for key, field in fields.items():
            below = f"{path}.{key}" if path else key
            if key in node.value:
                read[key] = self._value(node.value[key], field.type, below, None)
                whole = whole and read[key] is not _MISSING
            elif field.required:
                whole = False
                near = [k for k in node.value if k not in fields and close_match(k, [key])]
                if not near:  # a typo was reported already
                    what = f"expected the key {key!r}, got {shown(node)}"
                    self._problem(node.place, path, what, f"add `{key}:` here.")
        alone = exactly_one(kind.cls)
        given = [key for key in alone if key in node.value]
        if alone and whole and len(given) != 1:
            got = " and ".join(given) if given else shown(node)
            what = f"expected exactly one of {', '.join(alone)}, got {got}"
            place = node.keys[given[1]] if given else node.place
            return self._problem(place, path, what)
        return read if whole else _MISSING

    def _dict(self, node: Node, kind: inspect.DictType, path: str, expected: str | None) -> Any:
        smallest, largest = kind.min_length or 0, kind.max_length
        if not isinstance(node.value, dict):
            what = f"expected {expected or 'a mapping'}, got {shown(node)}"
            return self._problem(node.place, path, what)
        if len(node.value) < smallest or (largest is not None and len(node.value) > largest):
            what = f"expected {expected or 'at least one entry'}, got {shown(node)}"
            return self._problem(node.place, path, what)
        read: dict[str, Any] = {}
        whole = True
        for key, child in node.value.items():
            name = Node(place=node.keys[key], value=key)
            label = f"the key {key!r} of {path}" if path else f"the key {key!r}"
            good = self._value(name, kind.key_type, label, None) is not _MISSING
            read[key] = self._value(child, kind.value_type, f"{path}.{key}", None)
            whole = whole and good and read[key] is not _MISSING
        return read if whole else _MISSING

    def _tuple(
        self,
        node: Node,
        kind: inspect.VarTupleType | inspect.TupleType,
        path: str,
        extra: dict[str, Any],
    ) -> Any:
        items = node.value
        if extra.get("one_or_many") and isinstance(items, str):
            items = [node]
        expected = extra.get("expected") or "a list"
        if not isinstance(items, list):
            return self._problem(node.place, path, f"expected {expected}, got {shown(node)}")
        if isinstance(kind, inspect.TupleType):
            kinds = list(kind.item_types)
            if len(items) != len(kinds):
                what = f"expected a list of {len(kinds)}, got {shown(node)}"
                return self._problem(node.place, path, what)
        else:
            kinds = [kind.item_type] * len(items)
            if len(items) < (kind.min_length or 0):
                return self._problem(
                    node.place, path, f"expected {expected}, got {shown(node)}"
                )
        read = [
            self._value(item, one, f"{path}[{index}]", None)
            for index, (item, one) in enumerate(zip(items, kinds, strict=True))
        ]
        return _MISSING if any(one is _MISSING for one in read) else read

    def _quantity(self, node: Node, kind: Any, path: str, unit: str) -> Any:
        rule = UNITS[unit]
        value = rule.read(node.value.strip()) if isinstance(node.value, str) else None
        if value is None:
            hint = _unit_hint(node, unit)
            return self._problem(
                node.place, path, f"expected {rule.expected}, got {shown(node)}", hint
            )
        if not isinstance(value, dict) and not _within(value, kind):
            what = f"expected {rule.expected}, {_limits(kind, unit)}, got {shown(node)}"
            return self._problem(node.place, path, what)
        return value

    def _scalar(self, node: Node, kind: Any, path: str, expected: str | None) -> Any:
        value = node.value
        if isinstance(kind, inspect.LiteralType):
            return self._literal(node, kind, path)
        if isinstance(kind, inspect.BoolType):
            good, words = isinstance(value, bool), "true or false"
        elif isinstance(kind, inspect.IntType):
            good = isinstance(value, int) and not isinstance(value, bool)
            good, words = good and _within(value, kind), f"a whole number{_limits(kind)}"
        elif isinstance(kind, inspect.FloatType):
            good = isinstance(value, int | float) and not isinstance(value, bool)
            good, words = good and _within(value, kind), f"a number{_limits(kind)}"
            value = float(value) if good and isinstance(value, int) else value
        else:
            good, words = _text_fits(value, kind), "a text"
        if good:
            return value
        what = f"expected {expected or words}, got {shown(node)}"
        return self._problem(node.place, path, what, _scalar_hint(node, kind))

    def _literal(self, node: Node, kind: inspect.LiteralType, path: str) -> Any:
        same = [v for v in kind.values if v == node.value and type(v) is type(node.value)]
        if same:
            return same[0]
        words = " or ".join(str(one) for one in _in_order(kind.values))
        near = close_match(str(node.value), [str(one) for one in kind.values])
        return self._problem(node.place, path, f"expected {words}, got {shown(node)}", near)


def _in_order(values: Any) -> list[Any]:
    return sorted(values, key=str)


def _within(value: Any, kind: Any) -> bool:
    below = (kind.lt is None or value < kind.lt) and (kind.le is None or value <= kind.le)
    return (
        below and (kind.gt is None or value > kind.gt) and (kind.ge is None or value >= kind.ge)
    )


def _text_fits(value: Any, kind: Any) -> bool:
    if not isinstance(value, str) or not isinstance(kind, inspect.StrType):
        return False
    if kind.pattern is not None and re.search(kind.pattern.replace("$", r"\Z"), value) is None:
        return False
    longest = kind.max_length
    return len(value) >= (kind.min_length or 0) and (longest is None or len(value) <= longest)


def _limits(kind: Any, unit: str = "") -> str:
    def written(value: Any) -> str:
        return f"{value / 100:g}%" if unit == "bp" else f"{value:g}"

    words = (("from", kind.ge), ("above", kind.gt), ("to", kind.le), ("below", kind.lt))
    parts = [f"{word} {written(value)}" for word, value in words if value is not None]
    return (" " if parts and not unit else "") + " ".join(parts)


def _unit_hint(node: Node, unit: str) -> str:
    value = node.value
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    examples = {"bp": f"{value:g}%", "s": f"{value:g}s", "ms": f"{value:g}ms"}
    return f"a number needs its unit, for example {examples.get(unit, 'as shown')}."


def _scalar_hint(node: Node, kind: Any) -> str:
    if isinstance(kind, inspect.StrType) and isinstance(node.value, int | float):
        return "put it in quotes to make it a text."
    if isinstance(node.value, str) and not isinstance(kind, inspect.StrType):
        try:
            float(node.value)
        except ValueError:
            return ""
        return "remove the quotes."
    return ""


def default_of(field: inspect.Field) -> Any:
    """Return the default of a field, or NODEFAULT when it must be given."""
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    return field.default


def converted(read: dict[str, Any]) -> ManifestSpec:
    """Return the typed manifest of what `Reader.read` gave without a problem."""
    return msgspec.convert(read, ManifestSpec)
