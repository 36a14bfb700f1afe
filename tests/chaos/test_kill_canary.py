"""Kill -9 of the control plane while a second version takes over, in `make chaos`.

In `make test` the version of tests/chaos/test_kill_heal.py takes over past a kill -9.
"""

import os
import signal
from collections import Counter

import pytest
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, rollout, second_version

PHASES = ("staging", "warming", "canary", "swapped")
ENDED = {"done", "rolled_back", "failed"}


if FULL:

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_rollout_goes_on_where_it_was(cli: Cli, phase: str) -> None:
        with second_version(cli) as (viewers, _, second):
            order = [*PHASES[:3], "promoting", "swapped", *ENDED]

            def reached() -> bool:
                now = rollout(cli)
                return now["candidate"] == second and order.index(now["state"]) >= order.index(
                    phase
                )

            until(reached, 60)
            os.kill(control_pid(cli), signal.SIGKILL)
            answered = viewers.answered
            until(
                lambda: viewers.answered > answered + 50
            )  # nobody needs a control plane for it
            cli("up", "--wait", "--port", "0")
            end = until(lambda: rollout(cli) if rollout(cli)["state"] in ENDED else None, 120)
        assert (end["state"], end["candidate"]) == ("done", second), end
        assert viewers.failed == []
        seen = events(cli)
        assert max(Counter(event["key"] for event in seen).values()) == 1
        mine = [e for e in seen if e["subject"].endswith(end["rollout"])]
        swaps = [e for e in mine if e["type"] == "mlg.rollout.swapped"]
        assert len(swaps) == 1  # no double swap
        assert [v["share_bp"] for v in cli.json("production", "front")["versions"]] == [10_000]
