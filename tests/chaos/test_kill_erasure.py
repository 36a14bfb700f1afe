"""Kill -9 of a process that seals and erases; one round in `make test`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.test_erasure import HIM, lived_in, verified, where_he_is
from tests.privacy import Home

ROUNDS = 40 if os.environ.get("MLG_FULL") else 1

CHILD = """
import sys
from pathlib import Path
from tests.privacy import Home
home = Home(Path(sys.argv[1]))
print("ready", flush=True)
home.seals.recover()
if not home.privacy.erasures.resume():
    home.privacy.erasures.erase(sys.argv[2], "", "", "local:ada")
print("done", flush=True)
"""


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_killed_erasure_is_finished_and_told_once(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "home"
    home = Home(path)
    lived_in(home)
    home.serve(None)
    home.close()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(HIM)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    try:
        child.wait(seed * 13 % ROUNDS * 0.4 / ROUNDS + 0.05)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
    child.wait(30)
    child.stdout.close()
    again = Home(path)
    again.seals.recover()
    again.privacy.erasures.resume()
    if not again.events("mlg.erasure.performed"):
        again.privacy.erasures.erase(str(HIM), "", "", "local:ada")
    (event,) = again.events("mlg.erasure.performed")
    facts = dict(event.data)
    assert (facts["sealed_rows"], facts["log_records"], facts["table_rows"]) == (3, 8, 3)
    assert where_he_is(again) == set()
    assert verified(again)
    again.close()
