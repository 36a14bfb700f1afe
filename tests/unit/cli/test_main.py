"""A command starts without what it does not use."""

import subprocess
import sys

SLOW = {
    "cel",
    "dbos",
    "duckdb",
    "ibis",
    "lightgbm",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sqlglot",
}


def test_the_command_line_loads_no_package_of_numbers_or_tables() -> None:
    code = "import sys, mlg.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert loaded & SLOW == set()
