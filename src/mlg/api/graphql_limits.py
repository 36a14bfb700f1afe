"""What a GraphQL document costs, told before anything of it is run.

The cost is the greatest number of things that the answer may hold, where each question to
the graph counts as much as its work. A field with `first` or `limit` costs its own weight and
that many times (one and the cost of what is asked of each). A fragment is measured once, so a
short document cannot make measuring long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    Visitor,
    get_named_type,
    parse,
    visit,
)

from mlg.core.errors import ManifestError

MAX_QUERY: Final = 20_000
"""Longest document, in characters."""
MAX_TOKENS: Final = 1_000
MAX_DEPTH: Final = 16
"""Deepest nesting of fields; introspection has a limit of its own."""
MAX_ALIASES: Final = 50
MAX_COST: Final = 10_000

WEIGHTS: Final[Mapping[str, int]] = {
    "Query.node": 1,
    "Query.nodes": 10,
    "Query.trace": 100,
    "Query.impact": 100,
    "Query.production": 10,
    "Query.diff": 500,
    "Query.search": 10,
    "Query.events": 10,
    "Node.upstream": 2,
    "Node.downstream": 2,
}
"""Cost of asking, by type and field; any other field costs nothing by itself."""

HEAVY: Final[Mapping[str, int]] = {"knownAt": 2_000, "subject": 1_000}
"""Cost of arguments that make a question read the log."""

_PAGES: Final = ("first", "limit")
_HUGE: Final = 10**9
_DIGITS: Final = 9
_NUMBER: Final = 40


class GraphqlError(ManifestError):
    """A GraphQL document that is not run."""

    code = "graphql"
    http_status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How much a part of a document asks for."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0

    def beside(self, other: "Measured") -> "Measured":
        """Return the measure of both, asked for side by side."""
        return Measured(
            cost=min(_HUGE, self.cost + other.cost),
            depth=max(self.depth, other.depth),
            aliases=min(_HUGE, self.aliases + other.aliases),
        )


@dataclass(slots=True, kw_only=True)
class _Measuring:
    """One walk over a document."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    done: dict[str, Measured | None] = field(default_factory=dict[str, Measured | None])

    def selections(self, chosen: SelectionSetNode, parent: GraphQLNamedType | None) -> Measured:
        found = Measured()
        for one in chosen.selections:
            if isinstance(one, FieldNode):
                found = found.beside(self._field(one, parent))
            elif isinstance(one, InlineFragmentNode):
                found = found.beside(self.selections(one.selection_set, parent))
            elif isinstance(one, FragmentSpreadNode):
                found = found.beside(self._fragment(one.name.value))
        return found

    def _fragment(self, name: str) -> Measured:
        """Return the measure of a fragment; one that holds itself is refused by validation."""
        definition = self.fragments.get(name)
        if definition is None:
            return Measured()
        if name not in self.done:
            self.done[name] = None
            kind = self.schema.type_map.get(definition.type_condition.name.value)
            self.done[name] = self.selections(definition.selection_set, kind)
        return self.done[name] or Measured()

    def _field(self, asked: FieldNode, parent: GraphQLNamedType | None) -> Measured:
        name = asked.name.value
        if name.startswith("__"):
            return Measured(aliases=int(asked.alias is not None))
        known = parent.fields.get(name) if isinstance(parent, GraphQLObjectType) else None
        within = Measured()
        if asked.selection_set is not None:
            kind = None if known is None else get_named_type(known.type)
            within = self.selections(asked.selection_set, kind)
        cost = WEIGHTS.get(f"{parent.name}.{name}", 0) if parent is not None else 0
        given = {one.name.value: one.value for one in asked.arguments or ()}
        cost += sum(HEAVY.get(one, 0) for one in given)
        size = None
        for page in _PAGES:
            if known is not None and page in known.args:
                default = _default(known.args[page])
                size = self._size(given.get(page, default), default)
        cost += within.cost if size is None else size * (1 + within.cost)
        return Measured(
            cost=min(_HUGE, cost),
            depth=within.depth + 1,
            aliases=within.aliases + int(asked.alias is not None),
        )

    def _size(self, given: ValueNode | None, default: ValueNode | None) -> int:
        value: object = None
        if isinstance(given, VariableNode):
            value = self.variables.get(given.name.value)
            given = default if value is None else None
        if isinstance(given, IntValueNode):
            value = _number(given)
        if isinstance(value, float):
            return _HUGE
        return min(_HUGE, max(0, value)) if isinstance(value, int) else 0


def _default(argument: GraphQLArgument) -> ValueNode | None:
    return None if argument.default is None else argument.default.literal


def _number(written: IntValueNode) -> int:
    return int(written.value) if len(written.value) <= _DIGITS else _HUGE


def measured(
    query: str,
    schema: GraphQLSchema,
    variables: Mapping[str, Any] | None = None,
    operation: str | None = None,
) -> Measured:
    """Return how much a document asks for, over all its operations.

    Args:
        query: The document.
        schema: The schema that it is asked of.
        variables: Values of its variables.
        operation: Name of the one to run; None where there is only one.

    Raises:
        GraphqlError: It is too long, or no GraphQL, or has no such operation.
    """
    if len(query) > MAX_QUERY:
        raise GraphqlError(
            f"a document may have {MAX_QUERY} characters, got {len(query)}",
            where="query",
            hint="send values as variables, and ask in parts.",
        )
    try:
        document = parse(
            query,
            no_location=True,
            max_tokens=MAX_TOKENS,
            max_lexical_tokens=MAX_TOKENS,
            max_comments=MAX_TOKENS,
        )
    except GraphQLError as wrong:
        raise GraphqlError(
            wrong.message[:300], where="query", hint="see docs/graphql.graphql."
        ) from wrong
    _check_numbers(document)
    _check_operation(document, operation)
    return _measure(document, schema, variables or {})


def check(found: Measured) -> None:
    """Refuse a document that asks for too much.

    Raises:
        GraphqlError: Tells what it asks for and what it may.
    """
    for what, asked, most in (
        ("cost", found.cost, MAX_COST),
        ("depth", found.depth, MAX_DEPTH),
        ("number of aliases", found.aliases, MAX_ALIASES),
    ):
        if asked > most:
            raise GraphqlError(
                f"the document's {what} is {asked}, at most {most} is run",
                where="query",
                hint="ask with a smaller `first` and follow the cursors.",
            )


class _Numbers(Visitor):
    """Looks for numbers that no argument can be, which Python refuses to read."""

    longest = 0

    def enter_int_value(self, value: IntValueNode, *_: object) -> None:
        """Look at a whole number."""
        self.longest = max(self.longest, len(value.value))

    def enter_float_value(self, value: FloatValueNode, *_: object) -> None:
        """Look at any other number."""
        self.longest = max(self.longest, len(value.value))


def _check_numbers(document: DocumentNode) -> None:
    numbers = _Numbers()
    visit(document, numbers)
    if numbers.longest > _NUMBER:
        raise GraphqlError(
            f"a number may have {_NUMBER} characters, got {numbers.longest}",
            where="query",
            hint="see docs/graphql.graphql.",
        )


def _check_operation(document: DocumentNode, operation: str | None) -> None:
    names = [
        one.name.value if one.name else None
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode)
    ]
    if names.count(operation) != 1 and not (operation is None and len(names) == 1):
        raise GraphqlError(
            f"expected one operation named {operation[:60]!r}, got {names.count(operation)}"
            if operation is not None
            else f"expected one operation, or the name of one, got {len(names)} operations",
            where="operationName",
            hint="name the operation that is to be run.",
        )


def _measure(
    document: DocumentNode, schema: GraphQLSchema, variables: Mapping[str, Any]
) -> Measured:
    fragments = {
        one.name.value: one
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    found = Measured()
    for one in document.definitions:
        if isinstance(one, OperationDefinitionNode):
            defaults = {
                declared.variable.name.value: _number(declared.default_value)
                for declared in one.variable_definitions or ()
                if isinstance(declared.default_value, IntValueNode)
            }
            measuring = _Measuring(
                schema=schema, fragments=fragments, variables={**defaults, **variables}
            )
            root = schema.query_type
            found = found.beside(measuring.selections(one.selection_set, root))
    return found
