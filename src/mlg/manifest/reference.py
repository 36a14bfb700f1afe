"""The reference part of `docs/manifest.md`, made from the specifications.

`python -m mlg.manifest.reference docs/manifest.md` writes it into the page.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from msgspec import NODEFAULT, inspect

from mlg.manifest.canonical import canonical_json
from mlg.manifest.inactive import INACTIVE
from mlg.manifest.read import default_of, exactly_one, root_type
from mlg.manifest.schema import field_words, json_schema, unwrapped
from mlg.manifest.units import UNITS

BEGIN: Final = "<!-- reference: made by mlg.manifest.reference, do not edit below -->"

_PLACEHOLDER: Final = {
    "datasets": "<dataset>",
    "columns": "<column>",
    "pipelines": "<pipeline>",
    "steps": "<step>",
    "services": "<service>",
    "experiments": "<experiment>",
    "cells": "<cell>",
    "metrics": "<metric>",
    "monitors": "<monitor>",
    "automations": "<automation>",
    "gates": "<metric>",
}


def reference() -> str:
    """Return one heading a mapping and one row a key, in the order of the specifications."""
    sections: list[str] = []
    _section(sections, "", root_type(), set())
    return "\n".join([BEGIN, "", *sections]).rstrip() + "\n"


def _section(
    sections: list[str], path: str, kind: inspect.StructType, seen: set[tuple[str, str]]
) -> None:
    label = (path, kind.cls.__name__)
    if label in seen:
        return
    seen.add(label)
    step = f" ({kind.tag} step)" if kind.tag_field else ""
    title = f"## `{path}`{step}" if path else "## The file"
    summary = (kind.cls.__doc__ or "").strip().splitlines()[0]
    if alone := exactly_one(kind.cls):
        summary += f" Exactly one of {', '.join(f'`{key}`' for key in alone)}."
    words = field_words(kind.cls)
    sections.extend(
        [title, "", summary, "", "| key | form | default | meaning |", "|---|---|---|---|"]
    )
    below: list[tuple[str, inspect.StructType]] = []
    for field in kind.fields:
        inner = f"{path}.{field.encode_name}" if path else field.encode_name
        note = _not_acting(inner)
        cells = (
            f"`{field.encode_name}`",
            _form(field.type),
            _default(field),
            words[field.name] + note,
        )
        sections.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        below += _nested(inner, field.encode_name, field.type)
    sections.append("")
    for inner, nested in below:
        _section(sections, inner, nested, seen)


def _not_acting(path: str) -> str:
    generic = ".".join("*" if part.startswith("<") else part for part in path.split("."))
    for pattern, why in INACTIVE.items():
        if generic == pattern.removesuffix(".*"):
            return f" *Does not act yet: {why}*"
    return ""


def _nested(path: str, key: str, kind: Any) -> list[tuple[str, inspect.StructType]]:
    bare, extra = unwrapped(kind)
    if "unit" in extra:
        return []
    if isinstance(bare, inspect.StructType):
        return [(path, bare)]
    if isinstance(bare, inspect.DictType):
        return _nested(f"{path}.{_PLACEHOLDER.get(key, '<name>')}", key, bare.value_type)
    if isinstance(bare, inspect.VarTupleType):
        return _nested(f"{path}[]", key, bare.item_type)
    if isinstance(bare, inspect.UnionType):
        return [(path, one) for one in bare.types if isinstance(one, inspect.StructType)]
    return []


def _form(kind: Any) -> str:
    bare, extra = unwrapped(kind)
    if "unit" in extra:
        return UNITS[extra["unit"]].expected
    if isinstance(bare, inspect.LiteralType):
        return " or ".join(f"`{one}`" for one in sorted(bare.values, key=str))
    if "expected" in extra:
        return str(extra["expected"])
    if isinstance(bare, inspect.StructType):
        return "mapping"
    if isinstance(bare, inspect.DictType):
        return "mapping by name"
    if isinstance(bare, inspect.VarTupleType):
        return "list"
    if isinstance(bare, inspect.TupleType):
        return f"list of {len(bare.item_types)}"
    words: dict[type, str] = {
        inspect.BoolType: "`true` or `false`",
        inspect.IntType: "whole number",
        inspect.FloatType: "number",
        inspect.StrType: "text",
    }
    return words.get(type(bare), "any value") + _bounds(bare)


def _bounds(kind: Any) -> str:
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return ""
    words = (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt))
    parts = [f"{sign} {value:g}" for sign, value in words if value is not None]
    return f", {' and '.join(parts)}" if parts else ""


def _default(field: inspect.Field) -> str:
    value = default_of(field)
    if value is NODEFAULT:
        return "required"
    if value in (None, (), {}, ""):
        return "none"
    unit = unwrapped(field.type)[1].get("unit")
    if unit is None:
        item = unwrapped(field.type)[0]
        if isinstance(item, inspect.VarTupleType):
            unit = unwrapped(item.item_type)[1].get("unit")
    if unit == "bp":
        many = isinstance(value, tuple)
        text = ", ".join(f"{one / 100:g}%" for one in (value if many else (value,)))
        return f"`[{text}]`" if many else f"`{text}`"
    if unit == "s":
        return f"`{value / 3_600:g}h`"
    if unit == "rate":
        return f"`1/{value / 86_400:g}d`"
    return f"`{canonical_json(value)}`"


def schema_text() -> str:
    """Return the JSON Schema as it is kept beside the page."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def write(page: Path) -> None:
    """Replace a page from the mark on by the reference, and the schema beside it."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.partition(BEGIN)[0] + reference(), encoding="utf-8")
    page.with_suffix(".schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
