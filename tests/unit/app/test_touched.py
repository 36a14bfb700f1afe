from pathlib import Path

from mlg.app.touched import files_in
from mlg.manifest.load import load_manifest

MANIFEST = """version: 1
project: shop
datasets:
  plays:
    source: {uri: "file:data/plays.csv"}
    columns: {viewer: {type: int64}, item: {type: int64}, at: {type: int64}}
    checks: [{references: {columns: item, dataset: things, keys: item}}]
  things: {source: {uri: "csv:things.csv"}, columns: {item: {type: int64}}}
  films: {source: {uri: "movielens-100k://items"}, columns: {item: {type: int64}}}
pipelines:
  own:
    steps:
      clean: {sql: ./sql/clean.sql, in: [plays]}
      features: {python: "shop.features:build", in: [clean, films]}
      train:
        model: "models:Mine"
        in: [features]
        roles: {interactions: {table: features, item: item, at: at}}
  other:
    steps:
      more: {sql: sql/more.sql, in: [films]}
      train:
        model: popularity
        in: [more]
        roles: {interactions: {table: more, item: item, at: at}}
"""


def test_a_pipeline_is_its_manifest_sql_data_and_code_with_what_that_imports(
    tmp_path: Path,
) -> None:
    files = {
        "shop.yaml": MANIFEST, "data/plays.csv": "", "things.csv": "", "sql/clean.sql": "",
        "sql/more.sql": "", "shop/__init__.py": "", "shop/features.py": "from shop import deep",
        "shop/deep.py": "import json", "models.py": "import numpy", "unused.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    spec = load_manifest(tmp_path / "shop.yaml").spec
    found = files_in(tmp_path, "shop.yaml", spec)
    assert found == {
        "own": {
            "shop.yaml", "sql/clean.sql", "data/plays.csv", "things.csv", "shop/__init__.py",
            "shop/features.py", "shop/deep.py", "models.py",
        },
        "other": {"shop.yaml", "sql/more.sql"},
    }  # fmt: skip
    (tmp_path / "models.py").unlink()
    assert files_in(tmp_path, "shop.yaml", spec)["own"] is None
