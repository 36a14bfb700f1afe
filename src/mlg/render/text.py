"""Objects as YAML text: the same values give the same bytes."""

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from mlg.render.inputs import Object

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")
_NOT_TEXT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1, which Kubernetes reads, takes for something else than text."""


def yaml_text(objects: Sequence[Object]) -> str:
    """Return one YAML document an object; keys keep their order.

    Text is quoted unless no YAML could take it for something else: a version `12e4` stays
    text in YAML 1.1 and in 1.2. Text of several lines is written as such.

    Examples:
        >>> print(yaml_text([{"data": {"version": "12e4", "on": "3f2a"}}]), end="")
        ---
        data:
          version: "12e4"
          "on": "3f2a"
    """
    writer = YAML()
    writer.default_flow_style = False
    writer.explicit_start = True
    writer.width = 2**31  # no line is broken
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    for one in objects:
        writer.dump(_scalars(one), stream)
    return stream.getvalue()


def _scalars(value: Any) -> Any:
    """Return the value with texts that say how they are written; every part is a copy.

    Copies, as the writer would name and refer to a part that is there twice.
    """
    if isinstance(value, dict):
        return {_text(str(key)): _scalars(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_scalars(part) for part in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    lines = text.split("\n")
    block = len(lines) > 2 and lines[-1] == "" and lines[-2] != "" and lines[0][:1].strip()
    if block and all(_printable(line) for line in lines):
        return LiteralScalarString(text)
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return DoubleQuotedScalarString(text)


def _printable(line: str) -> bool:
    return line.isascii() and (line.isprintable() or not line) and line == line.rstrip()
