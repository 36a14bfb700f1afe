"""The manifest's page has an entry for every key, and its example loads."""

import re
from pathlib import Path

import pytest

from mlg.manifest.load import parse_manifest
from mlg.manifest.reference import BEGIN, reference, schema_text
from mlg.manifest.schema import structs

PAGE = Path(__file__).parents[2] / "docs" / "manifest.md"
REMEDY = "run: python -m mlg.manifest.reference docs/manifest.md"


def test_the_reference_is_what_the_specifications_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(BEGIN) == 1
    assert page[page.index(BEGIN) :] == reference(), REMEDY


def test_the_kept_schema_is_the_schema() -> None:
    kept = PAGE.with_suffix(".schema.json").read_text(encoding="utf-8")
    assert kept == schema_text(), f"the form changed: add a change note; {REMEDY}"


@pytest.mark.parametrize("name", sorted(structs()))
def test_every_key_has_an_entry_with_a_meaning(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    kind = structs()[name]
    if name == "WindowSpec":  # written as one text, `2s` or `1000 events`
        return
    summary = (kind.cls.__doc__ or "").strip().splitlines()[0]
    section = next(part for part in page.split("\n## ") if f"\n\n{summary}" in part)
    for field in kind.fields:
        row = re.search(
            rf"^\| `{re.escape(field.encode_name)}` \|(.+)\|$", section, re.MULTILINE
        )
        assert row is not None, f"{name}.{field.encode_name}"
        assert row[1].rsplit(" | ", 1)[1].strip()


def test_the_example_of_the_page_loads() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert parse_manifest(found[1]).spec.services["home"].model == "ranker"
