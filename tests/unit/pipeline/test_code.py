from pathlib import Path

import pytest

from mlg.core.errors import ManifestError
from mlg.pipeline.code import (
    modules,
    project_files,
    python_digest,
    source_digest,
    sql_digest,
    stage,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "shop/__init__.py": "",
        "shop/features.py": "import ibis\nfrom shop import daily\nfrom .deep import far\n",
        "shop/daily.py": "def late():\n    from shop.late import x\n    return x\n",
        "shop/late.py": "x = 1\n",
        "shop/deep/__init__.py": "from ..base import y\n",
        "shop/deep/far.py": "import importlib\nm = importlib.import_module('plug.one')\n",
        "shop/base.py": "y = 2\n",
        "plug/one.py": "import shop.features\n",
        "shop/other.py": "z = 3\n",
        "README.md": "text\n",
        "sql/clean.sql": "select 1",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_every_project_module_behind_a_function_is_found(folder: Path) -> None:
    assert list(modules("shop.features:build", folder)) == [
        "plug.one", "shop", "shop.base", "shop.daily", "shop.deep", "shop.deep.far",
        "shop.features", "shop.late",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    ["shop/daily.py", "shop/late.py", "shop/base.py", "plug/one.py", "shop/__init__.py"],
)
def test_one_line_in_an_imported_helper_changes_the_digest(folder: Path, changed: str) -> None:
    before = python_digest("shop.features:build", folder)
    with (folder / changed).open("a", encoding="utf-8") as file:
        file.write("w = 4\n")
    assert python_digest("shop.features:build", folder) != before


@pytest.mark.parametrize("changed", ["shop/other.py", "README.md", "sql/clean.sql"])
def test_an_unrelated_change_leaves_the_digest(folder: Path, changed: str) -> None:
    before = python_digest("shop.features:build", folder)
    (folder / changed).write_text("w = 4\n", encoding="utf-8")
    assert python_digest("shop.features:build", folder) == before


def test_two_functions_of_one_module_differ(folder: Path) -> None:
    one = python_digest("shop.features:build", folder)
    assert one != python_digest("shop.features:other", folder)


def test_sql_is_known_by_its_text(folder: Path) -> None:
    before = sql_digest("sql/clean.sql", folder)
    (folder / "sql/clean.sql").write_text("select 2", encoding="utf-8")
    assert sql_digest("sql/clean.sql", folder) != before


def test_a_file_source_is_known_by_its_bytes_and_a_named_one_by_its_uri(folder: Path) -> None:
    (folder / "x.csv").write_text("a\n1\n", encoding="utf-8")
    before = [source_digest(uri, folder) for uri in ("file:x.csv", "csv:x.csv", "x.csv")]
    assert len(set(before)) == 1
    named = source_digest("movielens-100k://ratings", folder)
    (folder / "x.csv").write_text("a\n2\n", encoding="utf-8")
    assert source_digest("file:x.csv", folder) != before[0]
    assert source_digest("movielens-100k://ratings", folder) == named


def test_a_missing_module_says_where_it_was_expected(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"'shop\.nope' beside the manifest") as caught:
        python_digest("shop.nope:build", folder)
    assert "shop/nope.py" in caught.value.hint


def test_a_syntax_error_has_file_and_line(folder: Path) -> None:
    (folder / "shop/daily.py").write_text("x = 1\ndef (\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="expected Python") as caught:
        python_digest("shop.features:build", folder)
    assert caught.value.where == "daily.py:2"


@pytest.mark.parametrize("path", ["sql/nope.sql", "../outside.sql", "/etc/passwd"])
def test_a_sql_file_must_lie_in_the_folder(folder: Path, path: str) -> None:
    with pytest.raises(ManifestError, match="found none"):
        sql_digest(path, folder)


def test_the_copy_of_a_project_leaves_caches_hidden_files_and_the_home_behind(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in (
        ".mlg/graph",
        "home/x",
        "shop/__pycache__/a.pyc",
        ".git/head",
        "node_modules/m",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    target = tmp_path_factory.mktemp("copy")
    stage(folder, target, without=folder / "home")
    copied = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert "shop/features.py" in copied
    assert not [name for name in copied if "pycache" in name or name.startswith((".", "home"))]
    assert len(copied) == len(project_files(folder, without=folder / "home")) == 11
