"""Writes the generated pages: commands, manifest keys, metrics (`python docs/generate.py`).

The tests compare what stands in the files with what these functions return.
"""

# ruff: noqa: INP001, PLC0415

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
MANIFEST = DOCS.parent / "src" / "mlg" / "manifest"
METRICS_HEAD = "## Metrics\n"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each leaf command of a click or Typer group, with its path."""
    for name, child in getattr(command, "commands", {}).items():
        deeper = (*path, name)
        if hasattr(child, "commands"):
            yield from commands(child, deeper)
        else:
            yield deeper, child


def cli_page(root: Any) -> str:
    """Return `docs/cli.md` for the root command."""
    parts = [
        "# Commands\n",
        "Made by `docs/generate.py` from the application; do not edit.\n",
        "Exit codes: 0 done, 1 a check said no, 2 manifest or usage, 3 not found, 4 conflict, "
        "5 backend.\n`--json` prints one document on standard output and nothing else.\n",
    ]
    for path, command in commands(root):
        parts.append(_command(path, command))
    return "\n".join(parts)


def _command(path: Sequence[str], command: Any) -> str:
    help_text = inspect.cleandoc((command.help or "").split("\f")[0])
    text, _, example = help_text.partition("Example:")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join(
        ["mlg", *path, *(_metavar(p) if p.required else f"[{_metavar(p)}]" for p in arguments)]
    )
    lines = [f"## {words}", "", " ".join(text.split()), ""]
    rows = [(f"`{_metavar(p)}`", getattr(p, "help", None) or "") for p in arguments]
    for option in (p for p in command.params if p.param_type_name == "option"):
        names = ", ".join(f"`{name}`" for name in option.opts if name != "--help")
        if names:
            rows.append((names, (getattr(option, "help", None) or "")))
    if rows:
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {name} | {_cell(help_)} |" for name, help_ in rows]
        lines.append("")
    if example.strip():
        lines += ["```text", " ".join(example.split()), "```", ""]
    return "\n".join(lines)


def _metavar(parameter: Any) -> str:
    return str(parameter.name).upper()


def _coded(words: Sequence[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|").strip()


def metric_rows(metrics: Sequence[Any]) -> str:
    """Return the section of the glossary that lists the metrics."""
    rows = [
        f"| `{spec.name}` | {_coded(spec.labels)} | {_cell(spec.help)} |" for spec in metrics
    ]
    head = ["", "| metric | labels | meaning |", "| --- | --- | --- |"]
    return "\n".join([METRICS_HEAD.strip(), *head, *rows]) + "\n"


def with_metrics(page: str, metrics: Sequence[Any]) -> str:
    """Return the glossary with its last section made anew."""
    return page[: page.index(METRICS_HEAD)] + metric_rows(metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of one specification, as its source says it."""

    name: str
    annotation: str
    needed: bool
    doc: str


Specs = dict[str, tuple[str, tuple[Key, ...]]]
"""Class -> its docstring and its keys."""


def specs(room: Path) -> Specs:
    """Return every specification class in the `specs*.py` files of the manifest's room."""
    found: Specs = {}
    for file in sorted(room.glob("specs*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name != "Spec":
                found[node.name] = (ast.get_docstring(node) or "", tuple(_keys(node)))
    return found


def _keys(node: ast.ClassDef) -> Iterator[Key]:
    for line, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        annotation = ast.unparse(line.annotation)
        if annotation == "ClassVar":
            continue
        text = after.value if isinstance(after, ast.Expr) else None
        doc = str(text.value) if isinstance(text, ast.Constant) else ""
        named = {}
        if isinstance(line.value, ast.Call):
            named = {word.arg: word.value for word in line.value.keywords}
        name = ast.literal_eval(named["name"]) if "name" in named else line.target.id
        given = line.value is not None and not named
        needed = not given and "default" not in named and "default_factory" not in named
        yield Key(name=name, annotation=annotation, needed=needed, doc=_cell(doc))


def manifest_page(found: Specs) -> str:
    """Return `docs/manifest.md`: a heading for each place in the file, a row for each key."""
    parts = [
        "# Manifest keys\n",
        "Made by `docs/generate.py` from the types that read the file; do not edit. "
        "`mlg schema` prints the same as JSON Schema.\n",
    ]
    for path, name in _places(found, "ManifestSpec", ""):
        doc, keys = found[name]
        rows = [f"| `{k.name}` | {'yes' if k.needed else ''} | {k.doc} |" for k in keys]
        head = ["", "| key | required | meaning |", "| --- | --- | --- |"]
        title = f"`{path}`" if path else "The file"
        if name.endswith("Step"):
            title += f" ({name.removesuffix('Step').lower()} step)"
        parts.append("\n".join([f"## {title}", _cell(doc), *head, *rows, ""]))
    return "\n".join(parts)


def _places(found: Specs, name: str, path: str) -> Iterator[tuple[str, str]]:
    yield path, name
    for key in found[name][1]:
        annotation = key.annotation
        if "StepSpec" in annotation:
            annotation += " " + " ".join(one for one in found if one.endswith("Step"))
        here = f"{path}.{key.name}".removeprefix(".")
        here += ".<name>" if "dict[" in annotation else "[]" if "tuple[" in annotation else ""
        for child in re.findall(r"\w+", annotation):
            if child in found:
                yield from _places(found, child, here)


def main() -> None:
    """Write the pages."""
    import typer

    from mlg.cli.main import app
    from mlg.telemetry.metrics import METRICS

    (DOCS / "manifest.md").write_text(manifest_page(specs(MANIFEST)), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_page(typer.main.get_command(app)), encoding="utf-8")
    glossary = DOCS / "glossary.md"
    page = with_metrics(glossary.read_text(encoding="utf-8"), METRICS)
    glossary.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
