"""A holdout is in every split that a rollout sets, the way back's included."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mlg.core.traffic import FULL_BP, HOLDOUT
from mlg.core.uris import Digest
from mlg.release.rollout import begin, begin_back
from mlg.release.rollout_moves import wanted_shares
from mlg.release.rollout_types import RolloutPlan, RolloutState, canary_shares
from mlg.workflows.layers import split_anew
from mlg.workflows.state import Wanted, WantedVersion

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HELD = WantedVersion(
    version="v0~holdout", artifact=Digest("a" * 64), bp=100, deployment="d0", layer=HOLDOUT
)
CELL = WantedVersion(
    version="v2~rows.A", artifact=Digest("c" * 64), bp=500, deployment="d2", layer="rows"
)


def wanted(*versions: str) -> tuple[WantedVersion, ...]:
    return tuple(
        WantedVersion(
            version=v, artifact=Digest(v[1] * 64), bp=FULL_BP * (n == 0), deployment=f"d{v[1]}"
        )
        for n, v in enumerate(versions)
    )


def after(state: RolloutState, *versions: str) -> tuple[WantedVersion, ...]:
    shares = {share.version: share.bp for share in wanted_shares(state)}
    return split_anew((HELD, CELL, *wanted(*versions)), state, shares)


@given(bp=st.integers(0, FULL_BP))
def test_every_step_of_a_rollout_keeps_the_holdout_and_ends_the_cells(bp: int) -> None:
    labels = dict.fromkeys(["v1", "v2", *(s.version for s in canary_shares("v1", "v2", bp))])
    state = replace(begin("r", "home", "v2", "v1", RolloutPlan(), T0), share_bp=bp)
    moved = after(state, *labels)
    assert moved[0] == HELD
    assert (moved[1].bp, moved[1].layer) == (0, "")
    assert sum(v.bp for v in moved if not v.layer) == FULL_BP


def test_a_way_back_leaves_the_holdout_alone_unless_it_is_what_is_left() -> None:
    back = replace(begin_back("b", "home", "v1", "v2", T0, "slow"), share_bp=FULL_BP)
    assert after(back, "v2", "v1")[0] == HELD
    of_left = replace(begin_back("b", "home", "v1", "v0", T0, "slow"), share_bp=FULL_BP)
    held = after(of_left, "v0", "v1")[0]
    assert (held.version, held.artifact) == ("v1~holdout", Digest("1" * 64))
    assert (held.bp, held.layer, held.deployment) == (100, HOLDOUT, "d1")
    again = split_anew((held, *wanted("v0", "v1")), of_left, {"v1": FULL_BP})
    assert again[0] == held


def test_what_serves_is_never_what_is_held_out() -> None:
    most = WantedVersion(
        version="v0~holdout", artifact=Digest("a" * 64), bp=9_999, deployment="d", layer=HOLDOUT
    )
    of = Wanted(service="home", versions=(most, *wanted("v1")))
    assert of.stable is not None
    assert of.stable.version == "v1"
    assert Wanted(service="home", versions=(most,)).stable is None
