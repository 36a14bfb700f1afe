"""The pages say what is there: commands, kinds, errors, metrics, ports, links, decisions."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from tests.taxonomy import kind_rows, role_rows

import mlg
import mlg.core.errors
import mlg.core.ports
from mlg.core.clock import Clock, ManualClock
from mlg.core.errors import LifecycleError
from mlg.core.nodes import KINDS, ROLE_CLASS, VIRTUAL_KINDS
from mlg.core.predict import Interaction, Query
from mlg.manifest.load import parse_manifest
from mlg.telemetry.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def test_pages_and_decisions_are_found() -> None:
    assert len(ADRS) >= 24
    assert len(PAGES) > len(ADRS)


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mlg_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


GENERATE = _generate()


# words


def _section(page: Path, heading: str) -> str:
    text = page.read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def _coded(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_the_glossary_lists_every_node_kind_and_edge_role() -> None:
    glossary = DOCS / "glossary.md"
    rows = [line for line in _section(glossary, "Node kinds").splitlines() if line[:1] == "|"]
    assert _coded("\n".join(rows)) == KINDS | VIRTUAL_KINDS
    roles = {
        role: line.split("|")[1].strip()
        for line in _section(glossary, "Edge roles").splitlines()
        if line[:1] == "|"
        for role in _coded(line)
    }
    assert roles == ROLE_CLASS


def test_the_glossary_lists_every_error_with_its_codes() -> None:
    rows = _section(DOCS / "glossary.md", "Errors and exit codes")
    kinds = [
        kind
        for _, kind in inspect.getmembers(mlg.core.errors, inspect.isclass)
        if issubclass(kind, LifecycleError) and kind is not LifecycleError
    ]
    for kind in kinds:
        row = next(line for line in rows.splitlines() if line.startswith(f"| `{kind.code}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2:] == [str(kind.exit_code), str(kind.http_status)]


def test_the_glossary_lists_every_metric() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert page == GENERATE.with_metrics(page, METRICS), "run: python docs/generate.py"


def test_the_page_of_kinds_and_roles_is_made_from_the_recorders() -> None:
    page = (DOCS / "taxonomy.md").read_text(encoding="utf-8")
    made = GENERATE.taxonomy_page(kind_rows(), role_rows())
    assert page == made, "run: python docs/generate.py"


def test_the_page_of_backends_has_a_row_for_every_port() -> None:
    rows = (DOCS / "backends.md").read_text(encoding="utf-8").splitlines()
    named = {name for row in rows if row[:3] == "| `" for name in _coded(row.split("|")[1])}
    ports = {
        name
        for name, kind in inspect.getmembers(mlg.core.ports, inspect.isclass)
        if getattr(kind, "_is_protocol", False) and kind.__module__ == mlg.core.ports.__name__
    }
    assert named == ports | {Clock.__name__}


# examples in the text


@pytest.mark.parametrize("page", ["README.md", "docs/own-data.md"])
def test_a_manifest_shown_in_the_docs_is_sound(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    assert parse_manifest(blocks[0], page).spec.services["home"].model == "ranker"


def test_the_model_shown_in_the_docs_keeps_the_protocol(tmp_path: Path) -> None:
    text = (DOCS / "own-model.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    file = tmp_path / "own_model.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("own_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.model, mlg.Model)
    module.model.save(tmp_path)
    again = module.Newest.load(tmp_path)
    seen = (Interaction(item_id=3),)
    query = Query(user_id=1, k=2, at=ManualClock().now(), history=seen)
    assert again.recommend(query).items == (2, 1)


# links and pictures


def _prose(page: Path) -> str:
    """Return the page without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    lines = _prose(page).splitlines()
    return {_slug(line.lstrip("#")) for line in lines if re.match(r"#+ ", line)}


def _links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", _prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_resolves(page: Path) -> None:
    for link in _links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def test_the_picture_is_well_formed_and_knows_both_colour_schemes() -> None:
    text = (DOCS / "picture.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314  # our own file
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "prefers-color-scheme: dark" in text


def test_the_readme_names_both_commands_and_keeps_a_place_for_figures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert 0 < text.index("<!-- figures:begin -->") < text.index("<!-- figures:end -->")


# decisions

HEADINGS = ["## Context", "## Decision", "## Consequences", "## Revisit when"]


@pytest.mark.parametrize("adr", ADRS, ids=lambda adr: adr.stem)
def test_a_decision_has_the_headings_of_the_template(adr: Path) -> None:
    lines = adr.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(rf"# {int(adr.name[:4])}\. \S.*", lines[0])
    assert re.fullmatch(
        r"Status: (accepted|superseded by \d+), \d{4}-\d\d-\d\d\. Supersedes: (none|\d+)\.",
        lines[1],
    )
    assert [line for line in lines if line[:3] == "## "] == HEADINGS
    sections = re.split(r"^## .*\n", "\n".join(lines) + "\n", flags=re.MULTILINE)[1:]
    assert all(section.strip() for section in sections)
    consequences = sections[2]
    assert re.search(r"^\+ ", consequences, re.MULTILINE)
    assert re.search(r"^- ", consequences, re.MULTILINE)


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(adr.name[:4]) for adr in ADRS] == list(range(1, len(ADRS) + 1))


# what no committed text may hold

SKIPPED = {"__pycache__", "node_modules", "build", "dist"}
INDEXES = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "registry." + "yarnpkg"]
INDEX_OPTIONS = ["index" + "-url", "trusted" + "-host", "PIP_" + "INDEX"]
MACHINE = re.compile(
    r"(?<![\w.~}>)/@-])/(?:ro" + r"ot|wo" + r"rk|ho" + r"me/\w+|Us" + r"ers/\w+)/"
)
BESIDE = ".." + "/shared"


def _committed() -> list[Path]:
    """Return the text files of the checkout; hidden folders but `.ci` are local."""
    found: list[Path] = []
    waiting = [ROOT]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            hidden = path.name[0] == "." and path.name not in {
                ".ci",
                ".gitignore",
                ".importlinter",
            }
            if hidden or path.name in SKIPPED or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                waiting.append(path)
            elif b"\0" not in path.read_bytes()[:8192]:
                found.append(path)
    return found


def test_no_committed_text_names_a_package_index_or_a_machine() -> None:
    files = _committed()
    assert ROOT / "Makefile" in files
    wrong: list[str] = []
    for path in files:
        for number, line in enumerate(
            path.read_text("utf-8", errors="replace").splitlines(), 1
        ):
            held = [word for word in (*INDEXES, *INDEX_OPTIONS, BESIDE) if word in line]
            if held or MACHINE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("open('" + "/ho" + "me/ada/x')", True),
        ("cd /wo" + "rk/main", True),
        ("POST /v1/services/home/recommend", False),
        ("mlg://service/mlg/movies/home", False),
        ("services/home/wanted.json", False),
    ],
)
def test_a_machine_path_is_told_from_a_url(text: str, is_wrong: bool) -> None:
    assert bool(MACHINE.search(text)) is is_wrong


def test_there_is_a_change_note_of_this_work() -> None:
    notes = [path for path in (ROOT / "changes").glob("*.md") if path.name[0].isdigit()]
    types = {"feature", "bugfix", "doc", "removal", "misc"}
    assert notes
    assert all(re.fullmatch(r"\d+", n.name.split(".")[0]) for n in notes)
    assert all(n.name.split(".")[1] in types and n.read_text("utf-8").strip() for n in notes)
