"""Roles out of a manifest's mapping."""

import pytest

from mlg.core.errors import ManifestError
from mlg.recsys.roles import present, roles_from


def test_lists_become_tuples_and_missing_parts_none() -> None:
    roles = roles_from(
        {
            "interactions": {"table": "t", "item": "i", "at": "a", "context": ["x", "y"]},
            "items": None,
        }
    )
    assert roles.interactions.context == ("x", "y")
    assert roles.items is None
    assert roles.interactions.viewer is None


@pytest.mark.parametrize(
    ("mapping", "part"),
    [
        ({}, "interactions"),
        ({"interactions": {"table": "t", "item": "i"}}, "missing"),
        ({"interactions": {"table": "t", "item": "i", "at": "a", "when": "b"}}, "'when'"),
        ({"interactions": {"table": "t", "item": 3, "at": "a"}}, "item"),
        ({"interactions": {"table": "t", "item": "i", "at": "a", "context": "x"}}, "context"),
        ({"interactions": ["t"]}, "mapping"),
        ({"interactions": {"table": "t", "item": "i", "at": "a"}, "viewer": {}}, "'viewer'"),
    ],
)
def test_a_wrong_mapping_is_named(mapping: dict[str, object], part: str) -> None:
    with pytest.raises(ManifestError, match=part) as caught:
        roles_from(mapping)
    assert caught.value.where.startswith("roles")


def test_roles_of_absent_tables_are_left_out() -> None:
    roles = roles_from(
        {
            "interactions": {"table": "t", "item": "i", "at": "a"},
            "items": {"table": "films", "key": "film"},
        }
    )
    assert present(roles, {"t"}).items is None
    assert present(roles, {"t", "films"}).items == roles.items
