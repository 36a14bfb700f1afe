"""What users ask of other tools is answered with a test that exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "asked.md").read_text(encoding="utf-8")


def test_every_request_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "--- |" not in line]
    assert len(rows) == 17  # the head, fifteen numbered requests, and the others
    for row in rows[1:]:
        named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", row)
        assert named, row
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in made, f"{file} has no {name}"
