"""`docs/cli.md` is made from the application, and the README's tour uses what exists."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from mlg.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ROOT_COMMAND: Any = typer.main.get_command(app)


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mlg_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


GENERATE = _generate()
COMMANDS = dict(GENERATE.commands(ROOT_COMMAND))


def test_the_page_of_commands_is_made_from_the_application() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page == GENERATE.cli_page(ROOT_COMMAND), "run: python docs/generate.py"


def test_every_command_has_a_heading_and_an_example() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("## mlg ") for line in page.splitlines() if line[:3] == "## "]
    names = [" ".join(w for w in head.split() if w.strip("[]").islower()) for head in headings]
    assert sorted(names) == sorted(" ".join(path) for path in COMMANDS)
    without = [path for path, command in COMMANDS.items() if "Example:" not in command.help]
    assert without == []


def _mlg_lines(page: Path) -> list[list[str]]:
    blocks = re.findall(
        r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    lines = [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]
    return [shlex.split(line)[1:] for line in lines if line.startswith("mlg ")]


def test_the_tour_of_the_readme_uses_commands_and_options_that_exist() -> None:
    tour = _mlg_lines(ROOT / "README.md")
    for words in tour:
        path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
        assert path in COMMANDS, words
        COMMANDS[path].make_context(
            " ".join(path), words[len(path) :]
        )  # raises on a wrong word
    shown = {next(iter(words)) for words in tour}
    wanted = {"up", "apply", "run", "status", "trace", "production", "audit", "down"}
    assert wanted <= shown
