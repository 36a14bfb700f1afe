"""Texts with `{event.data.x}` in them: one substitution, no expressions.

`{{` and `}}` stand for braces.
"""

import re
from datetime import datetime
from typing import Any, Final

from mlg.core.clock import rfc3339

MAX_LINE: Final = 200
MAX_TEXT: Final = 20_000

_WORDS: Final = ("id", "type", "at", "actor", "subject")
_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DATA: Final = re.compile(r"event\.data\.([A-Za-z_][A-Za-z0-9_.@-]*)")


def mistake_in_text(text: str) -> str | None:
    """Return what is wrong with a text before any event is seen, or None.

    Examples:
        >>> mistake_in_text("fell by {event.data.drop}")
        >>> mistake_in_text("fell by {drop}")
        '{drop}'
    """
    for found in _PART.finditer(text):
        whole, name = found[0], found[1]
        if whole in {"{{", "}}"}:
            continue
        known = name in {"rule", *(f"event.{word}" for word in _WORDS)}
        if name is None or not (known or _DATA.fullmatch(name)):
            return whole
    return None


def filled(text: str, words: dict[str, Any], rule: str) -> str:
    """Return the text with its names replaced; a fact that the event lacks is `(unknown)`.

    What is put in is never read again for names.

    Args:
        text: The template; checked by `mistake_in_text`.
        words: The event, as `event_words` gives it.
        rule: Name of the rule.

    Examples:
        >>> filled("{rule}: {event.data.drop}", {"data": {"drop": 0.25}}, "guard")
        'guard: 0.25'
    """

    def put(found: re.Match[str]) -> str:
        whole, name = found[0], found[1]
        if whole in {"{{", "}}"}:
            return whole[0]
        if name is None:
            return whole
        if name == "rule":
            return rule
        data = _DATA.fullmatch(name)
        if data is not None:
            facts: dict[str, Any] = words.get("data", {})
            return shown(facts[data[1]]) if data[1] in facts else "(unknown)"
        return shown(words.get(name.removeprefix("event."), "(unknown)"))

    return _PART.sub(put, text)[:MAX_TEXT]


def one_line(text: str) -> str:
    r"""Return the text on one line, without control characters, for a header.

    Examples:
        >>> one_line("fell\r\nBcc: x@y")
        'fell Bcc: x@y'
    """
    clean = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(clean.split())[:MAX_LINE]


def filled_json(value: Any, words: dict[str, Any], rule: str) -> Any:
    """Return a JSON value with every text in it filled; keys stay as they are."""
    if isinstance(value, str):
        return filled(value, words, rule)
    if isinstance(value, dict):
        return {key: filled_json(one, words, rule) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [filled_json(one, words, rule) for one in value]
    return value


def texts_of(value: Any) -> list[str]:
    """Return every text of a JSON value, keys excepted, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts_of(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in texts_of(one)]
    return []


def shown(value: Any) -> str:
    """Return a fact as people read it.

    Examples:
        >>> [shown(v) for v in (True, None, 0.1234567, 3)]
        ['true', 'none', '0.123457', '3']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value)
