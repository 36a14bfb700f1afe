"""A replica needs nothing that its image's lock does not name."""

import subprocess
import sys

from mlg.app.images import serving_lock

GUARD = """
import re, sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions
locked = set(sys.argv[1].split(","))
def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()
of = packages_distributions()
class Guard(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        makers = {plain(maker) for maker in of.get(name.partition(".")[0], ())}
        if makers and not makers & (locked | {"mlg"}):
            raise ModuleNotFoundError(f"{name} is not in serving.lock", name=name)
        return None
sys.meta_path.insert(0, Guard())
import mlg.app.replica, mlg.app.fallback
import uvloop, uvicorn.protocols.http.httptools_impl
import lightgbm
assert "pandas" not in sys.modules and "duckdb" not in sys.modules
"""


def test_a_replica_imports_only_what_its_lock_names() -> None:
    lines = [line for line in serving_lock().splitlines() if not line.startswith("#")]
    names = ",".join(line.partition("==")[0] for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", GUARD, names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
