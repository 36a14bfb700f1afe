"""Specifications as canonical JSON: what digests, plans and workflow inputs are made of."""

from functools import cache
from typing import Any, Final

import msgspec
import rfc8785

_LARGEST: Final = 2**53 - 1
"""Largest whole number that JSON carries exactly; YAML's larger ones are refused."""


def canonical_value(value: Any) -> Any:
    """Return a specification as built-in types: YAML's keys, canonical units, no defaults.

    Leaving defaults out makes `replicas: 1` and no `replicas` one manifest, and keeps
    digests when a later version adds a key. A step carries its `kind`.
    """
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, dict):
        return {key: canonical_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [canonical_value(one) for one in value]
    if isinstance(value, int) and abs(value) > _LARGEST:
        return float(value)  # msgspec reads 1e300 as a whole number; no other is so large
    return value


@cache
def _fields(cls: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cls)  # evaluates annotations each time: 1 ms


def _struct(value: msgspec.Struct) -> dict[str, Any]:
    config = value.__struct_config__
    tag = {config.tag_field: config.tag} if config.tag_field else {}
    read = dict[str, Any](tag)
    for field in _fields(type(value)):
        one = getattr(value, field.name)
        if field.default_factory is not msgspec.NODEFAULT:
            default: Any = field.default_factory()
        else:
            default = field.default
        if default is msgspec.NODEFAULT or one != default:
            read[field.encode_name] = canonical_value(one)
    return read


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text (RFC 8785) of a specification or of built-in types."""
    return rfc8785.dumps(canonical_value(value)).decode()
