"""What an experiment's split makes of what is wanted, and how the gateway's is read back."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mlg.core.traffic import (
    FULL_BP,
    HOLDOUT,
    Endpoint,
    ServiceEndpoints,
    TrafficSplit,
    VersionEndpoints,
)
from mlg.core.uris import Digest
from mlg.release.experiment import begin
from mlg.release.experiment_types import Cell, ExperimentPlan, experiment_shares
from mlg.release.fleet import FleetFacts, WantedService
from mlg.release.fleet import WantedVersion as Running
from mlg.release.fleet_traffic import wanted_split
from mlg.workflows.experiment_cells import (
    cells_retired,
    cells_set,
    cells_started,
    shares_shown,
)
from mlg.workflows.state import WantedVersion

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def version(name: str, bp: int = 0) -> WantedVersion:
    return WantedVersion(
        version=name, artifact=Digest(name[1] * 64), bp=bp, deployment=f"d{name[1]}"
    )


VERSIONS = {name: version(name) for name in ("v0", "v1", "v2")}


def plan(a: int, b: int, holdout: int) -> ExperimentPlan:
    return ExperimentPlan(
        name="rows",
        service="home",
        control="v1",
        cells=(
            Cell(name="A", version="v0", share_bp=a),
            Cell(name="B", version="v2", share_bp=b),
        ),
        metrics=("ctr",),
        holdout_bp=holdout,
        holdout="v0",
    )


def told(wanted: tuple[WantedVersion, ...]) -> TrafficSplit:
    """Return what the gateway would be told, all replicas being ready."""
    service = WantedService(
        name="home",
        versions=tuple(
            Running(
                version=v.version,
                artifact=v.artifact,
                replicas=1,
                bp=v.bp,
                layer=v.layer,
                begin=v.begin,
            )
            for v in wanted
        ),
    )
    at = (Endpoint(host="127.0.0.1", port=1),)
    placed = ServiceEndpoints(
        service="home",
        versions=tuple(VersionEndpoints(version=v.version, endpoints=at) for v in wanted),
        stable="v1",
        fallback=(),
    )
    facts = FleetFacts(now_s=0, services=(service,), groups=(), processes=(), placed=(placed,))
    split = wanted_split(service, facts)
    assert split is not None
    if split.layers:
        assert [layer.salt for layer in split.layers] == sorted(
            (layer.salt for layer in split.layers), key=lambda salt: salt != HOLDOUT
        )
    return split


def shown(wanted: tuple[WantedVersion, ...]) -> list[tuple[str, int]]:
    """Return what the gateway would say of it again."""
    return [(share.version, share.bp) for share in shares_shown(told(wanted))]


def test_who_was_in_a_stopped_cell_joins_the_control_and_nobody_another_cell() -> None:
    of, running = plan(300, 500, 0), replace(begin("e", plan(300, 500, 0), T0), phase="running")

    def places(*stopped: str) -> dict[str, set[int]]:
        """Return the places of the hash of each cell, as a gateway walks through the parts."""
        shares = experiment_shares(replace(running, stopped=stopped))
        wanted = cells_set((version("v1", FULL_BP),), of, shares, VERSIONS)
        (layer,) = told(wanted).layers
        return {s.version: set(range(at, at + s.bp)) for at, s in layer.parts}

    both = {"v0~rows.A": set(range(300)), "v2~rows.B": set(range(300, 800))}
    assert places() == both
    assert places("A") == {"v2~rows.B": both["v2~rows.B"]}
    assert places("B") == {"v0~rows.A": both["v0~rows.A"]}


@given(a=st.integers(1, 3_000), b=st.integers(1, 3_000), holdout=st.integers(0, 3_000))
def test_each_split_of_an_experiment_comes_back_from_the_gateway(
    a: int, b: int, holdout: int
) -> None:
    of = plan(a, b, holdout)
    state = begin("e", of, T0)
    wanted = (version("v1", FULL_BP),)
    labels = [cell.label("rows") for cell in of.cells]
    wanted = cells_started(wanted, [*labels, "v0~holdout"], VERSIONS)
    assert shown(wanted) == [("v1", FULL_BP)]  # replicas alone move nobody
    assert cells_started(wanted, labels, VERSIONS) == wanted
    # running, with one cell stopped, and closed
    for now in (
        replace(state, phase="running"),
        replace(state, phase="running", stopped=("A",)),
        replace(state, phase="stopped"),
    ):
        shares = experiment_shares(now)
        wanted = cells_set(wanted, of, shares, VERSIONS)
        assert shown(wanted) == [(share.version, share.bp) for share in shares]
        assert cells_set(wanted, of, shares, VERSIONS) == wanted  # done twice is done once
    left = {one.version for one in cells_retired(wanted, labels)}
    assert left == ({"v1", "v0~holdout"})


def test_a_plan_without_a_holdout_ends_the_one_before() -> None:
    held = WantedVersion(
        version="v0~holdout", artifact=Digest("0" * 64), bp=100, deployment="d0", layer=HOLDOUT
    )
    of = plan(500, 500, 0)
    shares = experiment_shares(replace(begin("e", of, T0), phase="running"))
    wanted = cells_set((version("v1", FULL_BP), held), of, shares, VERSIONS)
    assert "v0~holdout" not in {one.version for one in wanted}


def test_while_a_rollout_divides_the_rest_no_experiment_shares_are_shown() -> None:
    wanted = (version("v1", 9_000), version("v2", 1_000))
    assert shown(wanted) == []
