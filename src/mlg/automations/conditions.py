"""Conditions in CEL: compiled with the place of a mistake, evaluated within bounds.

CEL has no loops but comprehensions over finite lists, so a condition ends; its length,
the number of comprehensions and what it is given bound how long that takes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import cel

from mlg.automations.happened import event_words
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.manifest.tree import close_match

GraphFunctions = Mapping[str, Callable[..., Any]]
"""What `graph.<name>(…)` asks; takes the arguments as JSON scalars, returns one or a list."""

MAX_CHARS: Final = 1_000
MAX_COMPREHENSIONS: Final = 1
MAX_TEXT: Final = 1_000
"""Longest text of an event's data that a condition sees; longer ones are cut."""
MAX_FACTS: Final = 64
MAX_QUESTIONS: Final = 20
"""Most different questions to the graph in one evaluation."""

VARIABLES: Final = ("event", "graph")
FUNCTIONS: Final = frozenset(
    (
        "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double",
        "string", "bytes", "bool", "timestamp", "duration", "type", "dyn", "getFullYear",
        "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours",
        "getMinutes", "getSeconds", "getMilliseconds",
    )
)  # fmt: skip
"""Functions of the CEL standard that the library has."""

GRAPH_NAMES: Final = frozenset(("input_drift_open", "alerts_open", "production", "attr"))
"""Functions that a condition may ask of the graph; see `mlg.automations.asking`."""

_MACROS: Final = re.compile(
    r"\b(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,"
)
_MACRO_WORDS: Final = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\b")
_TYPES: Final = frozenset(
    ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type")
)
_SYNTAX: Final = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_GRAPH_MARK: Final = {"mlg": "graph"}
_RUN_ERRORS: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Why a text is no condition; the place counts from 1 inside the text."""

    what: str
    line: int = 1
    column: int = 1
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a condition said of an event."""

    outcome: Literal["true", "false", "error"]
    reason: str = ""
    """Why there is no answer; empty unless the outcome is `error`."""


def mistake_in(condition: str) -> Mistake | None:
    """Return what is wrong with a condition before any event is seen, or None.

    Examples:
        >>> mistake_in("event.data.drop > 0.2") is None
        True
        >>> found = mistake_in("event.data.drop > > 0.2")
        >>> (found.line, found.column)
        (1, 19)
    """
    if len(condition) > MAX_CHARS:
        what = f"{len(condition)} characters, of which {MAX_CHARS} are allowed"
        return Mistake(what=what, hint="make two rules of it.")
    if len(_MACRO_WORDS.findall(condition)) > MAX_COMPREHENSIONS:
        what = "more than one of all, exists, exists_one, map and filter"
        return Mistake(what=what, hint="use `in`, or make two rules of it.")
    try:
        program = _compiled(condition)
    except ValueError as error:
        return _syntax(str(error))
    used = program.references()
    bound = _MACROS.findall(condition)
    names = [n for n in used["variables"] if n not in {*VARIABLES, *bound, *_TYPES}]
    if names:
        return _unknown(condition, names[0], VARIABLES, "`event` and `graph` are known.")
    known = FUNCTIONS | GRAPH_NAMES
    wrong = [n for n in used["functions"] if n.isidentifier() and n not in known]
    wrong = [n for n in wrong if re.search(rf"\b{re.escape(n)}\s*\(", condition)]
    if wrong:
        words = f"of the graph: {', '.join(sorted(GRAPH_NAMES))}."
        return _unknown(condition, wrong[0], sorted(known), words)
    bare = [n for n in GRAPH_NAMES if re.search(rf"(?<![\w.]){n}\s*\(", condition)]
    if bare:
        return _unknown(condition, bare[0], (), f"write graph.{bare[0]}(…).")
    return None


def holds(condition: str | None, event: Event, graph: GraphFunctions) -> Verdict:
    """Return whether a condition holds for an event; no condition always holds.

    A fact that is missing, an answer that is neither true nor false, and any other error is
    the outcome `error`: the rule then does not act.

    Args:
        condition: The CEL text of the rule.
        event: What happened.
        graph: Functions behind `graph.<name>(…)`.

    Raises:
        BackendError: The graph could not be asked; the same question may be asked again.
    """
    if condition is None:
        return Verdict(outcome="true")
    mistake = mistake_in(condition)
    if mistake is not None:
        return Verdict(outcome="error", reason=f"expected a CEL condition, got {mistake.what}")
    asked = _Asked(graph)
    words = event_words(event)
    facts = list(words["data"].items())[:MAX_FACTS]
    words["data"] = {key: _cut(value) for key, value in facts}
    variables = {"event": words, "graph": _GRAPH_MARK}
    functions = {name: asked.function(name) for name in GRAPH_NAMES}
    try:
        found = _compiled(condition).execute(cel.Context(variables, functions))
    except _RUN_ERRORS as error:
        asked.reraise()
        return Verdict(outcome="error", reason=_run_words(error, asked.failed))
    asked.reraise()
    if asked.failed:
        return Verdict(outcome="error", reason=asked.failed)
    if not isinstance(found, bool):
        what = f"expected true or false, got {type(found).__name__}"
        return Verdict(outcome="error", reason=what)
    return Verdict(outcome="true" if found else "false")


def unmet(condition: str, event: Event, graph: GraphFunctions) -> str:
    """Return the first part of a false condition, between `&&`, that is false by itself.

    Raises:
        BackendError: The graph could not be asked.

    Examples:
        >>> parts_of("a > 1 && !(b && c) && d == '&&'")
        ['a > 1', '!(b && c)', "d == '&&'"]
    """
    parts = parts_of(condition)
    if len(parts) > 1:
        for part in parts:
            if holds(part, event, graph).outcome == "false":
                return part
    return condition


def parts_of(condition: str) -> list[str]:
    """Return what a condition joins by `&&`, outside brackets and texts; `||` joins all."""
    parts, depth, quote, start, skip = list[str](), 0, "", 0, False
    for at, sign in enumerate(condition):
        if skip:
            skip = False
        elif quote:
            skip, quote = sign == "\\", "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif depth == 0 and condition.startswith(("||", "?"), at):
            return [condition.strip()]
        elif depth == 0 and condition.startswith("&&", at):
            parts.append(condition[start:at].strip())
            start, skip = at + 2, True
    return [*parts, condition[start:].strip()]


@lru_cache(maxsize=512)
def _compiled(condition: str) -> cel.Program:
    return cel.compile(condition)


class _Asked:
    """Calls the graph's functions for one evaluation: bounded, once a question."""

    def __init__(self, graph: GraphFunctions) -> None:
        self._graph = graph
        self._answers: dict[tuple[Any, ...], Any] = {}
        self._backend: BackendError | None = None
        self.failed = ""

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function as CEL calls it: the receiver first. It never raises."""

        def ask(*args: Any) -> Any:
            if not args or args[0] != _GRAPH_MARK:
                return self._fail(f"{name} is a function of the graph: graph.{name}(…)")
            return self._ask(name, args[1:])

        return ask

    def reraise(self) -> None:
        """Raise what the graph's store raised, if it did."""
        if self._backend is not None:
            raise self._backend

    def _ask(self, name: str, args: tuple[Any, ...]) -> Any:
        key = (name, *args)
        if not all(isinstance(arg, str | int | float | bool | None) for arg in args):
            return self._fail(f"graph.{name} takes texts and numbers")
        if key in self._answers:
            return self._answers[key]
        if len(self._answers) >= MAX_QUESTIONS:
            return self._fail(f"more than {MAX_QUESTIONS} questions to the graph")
        if name not in self._graph:
            return self._fail(f"graph.{name} cannot be asked here")
        try:
            self._answers[key] = self._graph[name](*args)
        except BackendError as error:
            self._backend = error
            return None
        except LifecycleError as error:
            return self._fail(f"graph.{name}: {error}")
        except (TypeError, ValueError) as error:
            return self._fail(f"graph.{name}: {error}")
        return self._answers[key]

    def _fail(self, what: str) -> None:
        self.failed = self.failed or what


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _syntax(text: str) -> Mistake:
    found = _SYNTAX.search(text)
    if found is None:
        return Mistake(what="a mistake of syntax")
    line, column, words = int(found[1]), int(found[2]), found[3].strip()
    short = re.sub(r" expecting \{.*\}$", "", words).replace("'<EOF>'", "the end")
    return Mistake(what=f"a mistake: {short}", line=line, column=column)


def _unknown(condition: str, name: str, known: Iterable[str], words: str) -> Mistake:
    whole = re.escape(name)
    found = re.search(rf"\b{whole}(?=\s*\()|(?<![\w.]){whole}\b", condition)
    start = found.start() if found else 0
    before = condition[:start]
    return Mistake(
        what=f"the unknown name {name!r}",
        line=before.count("\n") + 1,
        column=start - (before.rfind("\n") + 1) + 1,
        hint=close_match(name, known) or words,
    )


def _run_words(error: Exception, failed: str) -> str:
    if failed:
        return failed
    if isinstance(error, KeyError):
        return f"the event has no fact {error.args[0]!r}"
    return " ".join(str(error).partition(". ")[0].split())[:200]
