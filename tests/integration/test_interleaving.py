"""The watch over interleaved lists: a real log, read on after the control plane was killed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.router_memory import MemoryRouter
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.interleaving import DraftWatch, interleaves
from mlg.app.specs import Specs
from mlg.app.tail import Tail
from mlg.core.ports import Record
from mlg.core.traffic import Endpoint, ServiceEndpoints, TrafficSplit, VersionEndpoints
from mlg.release.rollout import begin
from mlg.release.rollout_types import (
    BEFORE_STEPS,
    InterleavePlan,
    RolloutFacts,
    RolloutPlan,
    interleaved_shares,
)
from mlg.workflows.rollouts import Look
from mlg.workflows.state import WantedVersion

AT = datetime(2026, 1, 1, tzinfo=UTC)
LABEL = "new~interleaved"
PLAN = RolloutPlan(
    interleave=InterleavePlan(
        share_bp=500, min_viewers=10, max_hold_s=60.0, alpha=0.01, margin=0.1
    )
)
SHARES = interleaved_shares("old", "new", 500)


def answered(number: int, team: str, **odd: Any) -> list[Record]:
    """Return the rows of one viewer who was shown an item of a team, and played it."""
    name = f"p{number}"
    row = {
        "prediction_id": name, "service": "home", "model_version": "new", "arm": LABEL,
        "viewer": f"u{number}", "items": [7], "at": "2026-01-01T00:00:00Z", "features": b"",
        "latency_ms": 3.0, "interleaved": {"beside": "old", "teams": team}, **odd,
    }  # fmt: skip
    played = {"prediction_id": name, "item_id": 7, "event": "play"}
    return [
        Record(kind="prediction", key=name, at=AT, payload=msgspec.msgpack.encode(row)),
        Record(kind="feedback", key=f"{name}f", at=AT, payload=msgspec.msgpack.encode(played)),
    ]


def test_votes_are_counted_from_the_mark_by_whoever_looks(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    router = MemoryRouter()
    address = (Endpoint(host="127.0.0.1", port=1),)
    versions = tuple(
        VersionEndpoints(version=share.version, endpoints=address) for share in SHARES
    )
    router.place(ServiceEndpoints(service="home", versions=versions, stable="old", fallback=()))
    router.apply(TrafficSplit(service="home", shares=SHARES))
    tail = Tail(tmp_path, files, SystemClock(), lambda: ("home",))
    log = SegmentStream(tmp_path / "segments" / "home", "replica-home-1", header={})
    for n in range(30):
        log.append(answered(n, "c"))  # before the phase: not of it
    state = msgspec.structs.replace(
        Look(state=begin("r", "home", "new", "old", PLAN, AT)),
    ).state
    from dataclasses import replace

    state = replace(state, phase="interleaving", step=BEFORE_STEPS, share_bp=500)
    assert interleaves(state)
    assert interleaves(replace(state, phase="paused", paused_from="interleaving"))
    facts = RolloutFacts(now=AT, shares=SHARES)
    watch = DraftWatch(tmp_path, router, tail)
    look, seen = watch.look(Look(state=state), facts)
    assert (look.drafts is not None, seen.fresh) == (True, False)
    for n in range(100, 140):
        log.append(answered(n, "s"))
    look, seen = watch.look(look, facts)
    assert (seen.fresh, seen.step, seen.units) == (True, BEFORE_STEPS, 40)
    assert [g.verdict for g in seen.gates] == ["FAIL", "PASS"]
    assert "0 of 40 viewers took the candidate's item first" in seen.gates[0].reason
    alone = {"beside": "old", "teams": "", "alone": "candidate_failed"}
    for n in range(200, 260):
        log.append(answered(n, "", interleaved=alone))
    # what is kept goes through JSON; another process has the mark, and nothing else
    kept = msgspec.json.decode(msgspec.json.encode(look), type=Look)
    again = DraftWatch(tmp_path, router, Tail(tmp_path, files, SystemClock(), lambda: ()))
    for each in (watch, again):
        _, found = each.look(kept, facts)
        assert found.units == 40
        assert "60 of 100 requests" in found.gates[1].reason
        assert found.gates[1].verdict == "FAIL"
    # while the gateway shows another split nothing is counted
    other = replace(facts, shares=None)
    assert again.look(kept, other) == (kept, other)
    log.close()


def test_a_replica_of_both_is_told_where_each_model_and_its_signature_lie() -> None:
    class Places:
        def locate(self, digest: str) -> Path:
            return Path("/store") / digest

        def read(self, path: str) -> bytes | None:
            if "packaged" not in path:
                return None
            return None

    specs = Specs.__new__(Specs)
    specs._artifacts = specs._files = Places()  # type: ignore[assignment]
    wanted = WantedVersion(
        version=LABEL, artifact="a" * 64, bp=0, deployment="d", beside="b" * 64
    )  # type: ignore[arg-type]
    assert specs._beside(wanted) == [
        "--beside-version", "b" * 12,
        "--beside-artifact", f"/store/{'b' * 64}",
        "--beside-digest", "b" * 64,
    ]  # fmt: skip
    alone = msgspec.structs.replace(wanted, beside="")
    assert specs._beside(alone) == []
