"""The JSON Schema of the manifest, as editors use it: written forms, a sentence a key."""

import ast
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from mlg.manifest.read import exactly_one, root_type
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import STEP_KEYS
from mlg.manifest.units import UNITS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a manifest as it is written.

    msgspec's schema describes values after conversion; here quantities have their
    written form (`0.5%`, `30m`), steps are told apart by their key, and nothing may be
    null.
    """
    (_,), components = msgspec.json.schema_components([ManifestSpec])
    definitions = {name: _definition(name, body) for name, body in sorted(components.items())}
    root: dict[str, Any] = definitions.pop("ManifestSpec")
    root["patternProperties"] = {"^x-": {"description": "Your own; not read."}}
    made = {"$schema": DIALECT, **root, "title": "mlg manifest", "$defs": definitions}
    return msgspec.json.decode(msgspec.json.encode(made))  # defaults hold tuples


def structs() -> dict[str, inspect.StructType]:
    """Return the description of every specification by the name of its class."""
    found: dict[str, inspect.StructType] = {}
    waiting: list[Any] = [root_type()]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls.__name__ not in found:
                found[kind.cls.__name__] = kind
                waiting += [field.type for field in kind.fields]
        elif isinstance(kind, inspect.Metadata):
            waiting.append(kind.type)
        elif isinstance(kind, inspect.UnionType):
            waiting += kind.types
        elif isinstance(kind, inspect.DictType):
            waiting += [kind.key_type, kind.value_type]
        elif isinstance(kind, inspect.VarTupleType):
            waiting.append(kind.item_type)
    return found


@cache
def field_words(cls: type) -> dict[str, str]:
    """Return the docstring of each field of a specification, by the attribute's name."""
    source = Path(str(import_module(cls.__module__).__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source)
    body = next(
        one.body
        for one in tree.body
        if isinstance(one, ast.ClassDef) and one.name == cls.__name__
    )
    words: dict[str, str] = {}
    for one, following in pairwise(body):
        if (
            isinstance(one, ast.AnnAssign)
            and isinstance(one.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            words[one.target.id] = " ".join(str(following.value.value).split())
    return words


def unwrapped(kind: Any) -> tuple[Any, dict[str, Any]]:
    """Return a field's type without null and annotations, and the annotations' extras."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            extra = {**extra, **(kind.extra or {})}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            parts = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            if len(parts) != 1:
                return kind, extra
            kind = parts[0]
        else:
            return kind, extra


def _definition(name: str, body: dict[str, Any]) -> dict[str, Any]:
    kind = structs()[name]
    words = field_words(kind.cls)
    made = {key: value for key, value in body.items() if key not in {"properties", "required"}}
    properties: dict[str, Any] = {}
    for field in kind.fields:
        written = _written(body["properties"][field.encode_name], field.type)
        properties[field.encode_name] = {**written, "description": words[field.name]}
    made["properties"] = properties
    required = [key for key in body.get("required", []) if key != kind.tag_field]
    if required:
        made["required"] = required
    if alone := exactly_one(kind.cls):
        made["oneOf"] = [{"required": [key]} for key in alone]
    return made


def _written(schema: dict[str, Any], kind: Any) -> dict[str, Any]:
    bare, extra = unwrapped(kind)
    if "unit" in extra:
        rule = UNITS[extra["unit"]]
        return {"type": "string", "pattern": rule.pattern}
    made = _without_null(schema)
    if isinstance(bare, inspect.DictType) and isinstance(bare.value_type, inspect.UnionType):
        made = {**made, "additionalProperties": _steps(bare.value_type)}
    if isinstance(bare, inspect.VarTupleType) and "items" in made:
        made = {**made, "items": _written(made["items"], bare.item_type)}
    if extra.get("one_or_many"):
        default = {key: made.pop(key) for key in ("default",) if key in made}
        made = {"anyOf": [made["items"], made], **default}
    return made


def _steps(kind: inspect.UnionType) -> dict[str, Any]:
    names = [one.cls.__name__ for one in kind.types if isinstance(one, inspect.StructType)]
    if sorted(names) != sorted(cls.__name__ for cls in STEP_KEYS.values()):
        return {}
    return {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in names]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    made = {k: v for k, v in schema.items() if not (k == "default" and v is None)}
    parts = [one for one in made.get("anyOf", []) if one != {"type": "null"}]
    if "anyOf" in made and len(parts) < len(made["anyOf"]):
        rest = {key: value for key, value in made.items() if key != "anyOf"}
        made = {**parts[0], **rest} if len(parts) == 1 else {**rest, "anyOf": parts}
    return made
