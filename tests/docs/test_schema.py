"""The JSON Schema accepts what the loader accepts, by a small independent validator."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mlg.core.errors import ManifestError
from mlg.manifest.load import parse_manifest
from mlg.manifest.schema import field_words, json_schema, structs

EXAMPLES = Path(__file__).parents[2] / "examples"
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
KNOWN = {
    "$ref", "$schema", "$defs", "title", "description", "default", "type", "enum", "pattern",
    "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "items", "prefixItems", "minItems", "maxItems", "properties", "required",
    "additionalProperties", "patternProperties", "propertyNames", "minProperties",
    "maxProperties", "anyOf", "oneOf",
}  # fmt: skip


def fits(  # noqa: C901, PLR0911 - a validator is a list of rules
    value: Any, schema: dict[str, Any], root: dict[str, Any]
) -> bool:
    """Whether a value is valid under the subset of JSON Schema 2020-12 that ours uses."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema and not fits(value, root["$defs"][schema["$ref"][8:]], root):
        return False
    if "type" in schema:
        is_bool = isinstance(value, bool) and schema["type"] != "boolean"
        if schema["type"] == "null":
            if value is not None:
                return False
        elif is_bool or not isinstance(value, TYPES[schema["type"]]):
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(fits(value, one, root) for one in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(fits(value, one, root) for one in schema["oneOf"]) != 1:
        return False
    if isinstance(value, str):
        return _text_fits(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and value > schema.get("exclusiveMinimum", float("-inf"))
            and value < schema.get("exclusiveMaximum", float("inf"))
        )
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        rest = schema.get("items", {})
        return (
            schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
            and all(fits(one, part, root) for one, part in zip(value, first, strict=False))
            and (rest is False or all(fits(one, rest, root) for one in value[len(first) :]))
        )
    return not isinstance(value, dict) or _mapping_fits(value, schema, root)


def _text_fits(value: str, schema: dict[str, Any]) -> bool:
    return re.search(schema.get("pattern", ""), value) is not None and schema.get(
        "minLength", 0
    ) <= len(value) <= schema.get("maxLength", len(value))


def _mapping_fits(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    size = len(value)
    if not schema.get("minProperties", 0) <= size <= schema.get("maxProperties", size):
        return False
    if not set(schema.get("required", [])) <= set(value):
        return False
    for key, one in value.items():
        if not fits(key, schema.get("propertyNames", {}), root):
            return False
        patterns = [
            part
            for text, part in schema.get("patternProperties", {}).items()
            if re.search(text, key)
        ]
        if key in schema.get("properties", {}):
            patterns.append(schema["properties"][key])
        if not patterns:
            other = schema.get("additionalProperties", True)
            patterns = [other] if isinstance(other, dict) else []
            if other is False:
                return False
        if not all(fits(one, part, root) for part in patterns):
            return False
    return True


def plain(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    return json.loads(json.dumps(yaml.load(text), default=str))  # days become texts


@pytest.mark.parametrize("name", ["movies", "fashion"])
def test_the_examples_as_written_fit_the_schema(name: str) -> None:
    schema = json_schema()
    assert fits(plain((EXAMPLES / name / "mlg.yaml").read_text()), schema, schema)


HEAD = "version: 1\nproject: a\n"
SERVICE = HEAD + "services:\n  b:\n    adopt: http://c:1\n"
GOOD = [
    HEAD,
    HEAD + "x-mine: [1]\n",
    SERVICE + "    confidence: {abstain_below: 0.3, explore: 0.5%}\n",
    SERVICE + "    resources: {cpu: 0.5, memory: 512MiB}\n",
    SERVICE + "    rollout: {canary: {steps: [0.5%, 100%], max_hold: 30m}, swap_back: 1h}\n",
    SERVICE + "    rollback: {latency_p99: {max: 150ms}, availability: {min: 99.9%}}\n",
    SERVICE
    + "monitors: {m: {watch: b, features: all, window: 2s, limits: {false_alarms: 1/30d}}}\n",
    SERVICE + "monitors: {m: {watch: b, features: [x, y], window: 1000 events}}\n",
    HEAD + "calendar: [{promotion: p, from: 2026-07-01, to: 2026-07-02}]\n",
    HEAD + "automations: {a: {on: {alert: x}, do: [{audit: {note: y}}]}}\n",
    HEAD + "datasets: {d: {source: {uri: x}, columns: {c: {type: int8, range: [null, 3]}}}}\n",
    HEAD
    + "datasets: {d: {source: {uri: x}, columns: {c: {type: int8}}, checks: [{unique: c}]}}\n",
]
BAD = [
    "version: 1\n",
    HEAD + "dataset: {}\n",
    "version: 2\nproject: a\n",
    "version: 1\nproject: 7\n",
    SERVICE + "    confidence: {explore: 0.5}\n",
    SERVICE + "    confidence: {explore: 50}\n",
    SERVICE + "    confidence: null\n",
    SERVICE + "    replicas: 0\n",
    SERVICE + "    resources: {memory: 1G}\n",
    SERVICE + "    rollout: {swap_back: 30}\n",
    SERVICE + "monitors: {m: {watch: b, window: {events: 5}}}\n",
    HEAD + "datasets: {d: {source: {uri: x}, columns: {c: {type: int8}}, checks: [{}]}}\n",
    HEAD + "datasets: {d: {source: {uri: x}, columns: {}}}\n",
    HEAD + "pipelines: {p: {steps: {s: {kind: sql, sql: a, in: [b]}}}}\n",
    HEAD + "pipelines: {p: {steps: {s: {sq: a, in: [b]}}}}\n",
    HEAD + "pipelines: {p: {steps: {}}}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_fits(text: str) -> None:
    parse_manifest(text)
    assert fits(plain(text), json_schema(), json_schema())


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_for_its_form_does_not_fit(text: str) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text)
    assert not fits(plain(text), json_schema(), json_schema())


def test_every_field_has_a_sentence_and_every_reference_leads_somewhere() -> None:
    schema = json_schema()
    for name, kind in structs().items():
        words = field_words(kind.cls)
        for field in kind.fields:
            assert words[field.name].endswith((".", "…")), f"{name}.{field.name}"
            assert "TODO" not in words[field.name]
        body = schema["$defs"].get(name, schema)
        assert set(body["properties"]) == {field.encode_name for field in kind.fields}
        assert all(one["description"] for one in body["properties"].values())
    text = json.dumps(schema)
    for ref in re.findall(r'"#/\$defs/(\w+)"', text):
        assert ref in schema["$defs"]
    assert '"kind"' not in text
    assert json.loads(text) == schema
