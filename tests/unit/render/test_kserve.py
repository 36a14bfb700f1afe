"""KServe splits between two versions in whole percents; anything else is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kube_schemas import VERSIONS, errors_of

from mlg.core.errors import ManifestError
from mlg.core.predict import ServingPolicy
from mlg.manifest.specs_services import ServiceSpec
from mlg.render.inputs import Cluster, RunningService, RunningVersion
from mlg.render.kubernetes import render

OLD, NEW, THIRD = "3f2a90c1d2e4", "77b0c1d2e4aa", "0011aabbccdd"
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True)


def service(
    *versions: tuple[str, int], name: str = "home", replicas: int = 2
) -> RunningService:
    return RunningService(
        name=name,
        spec=ServiceSpec(model="ranker", replicas=replicas),
        policy=ServingPolicy(service=name, version="1"),
        versions=tuple(
            RunningVersion(version=v, bp=bp, image=f"ranker@sha256:{v * 5}abcd"[: 14 + 64])
            for v, bp in versions
        ),
    )


def inference(*versions: tuple[str, int]) -> dict[str, Any]:
    rendering = render(Cluster(project="movies"), [service(*versions)], with_kserve=True)
    (found,) = [o for o in rendering.objects if o["kind"] == "InferenceService"]
    return found


@settings(max_examples=20, deadline=None)
@given(NAMES, NAMES, st.integers(1, 50), st.integers(1, 1_000))
def test_whole_percents_are_the_canarys_share(
    project: str, name: str, percent: int, replicas: int
) -> None:
    split = [(OLD, 10_000 - 100 * percent), (NEW, 100 * percent)]
    one = service(*split, name=name, replicas=replicas)
    rendering = render(Cluster(project=project), [one], with_kserve=True)
    for version in VERSIONS:
        assert [error for o in rendering.objects for error in errors_of(o, version)] == []
    assert {o["kind"] for o in rendering.objects} == {
        "ServiceAccount", "ConfigMap", "InferenceService"
    }  # fmt: skip
    (found,) = [o for o in rendering.objects if o["kind"] == "InferenceService"]
    predictor = found["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == percent
    assert percent == 50 or NEW in predictor["containers"][0]["args"]
    assert predictor["minReplicas"] == replicas
    # KServe and Knative append up to 23 characters: "-predictor-default-00001"
    assert len(found["metadata"]["name"]) <= 40


def test_a_version_with_everything_has_no_canary() -> None:
    found = inference((OLD, 0), (NEW, 10_000))
    assert "canaryTrafficPercent" not in found["spec"]["predictor"]
    assert NEW in found["spec"]["predictor"]["containers"][0]["args"]


def test_groups_of_one_version_count_together() -> None:
    found = inference((OLD, 9_400), (f"{OLD}~control", 300), (NEW, 300))
    assert found["spec"]["predictor"]["canaryTrafficPercent"] == 3


def test_knative_gets_no_pre_stop_hook() -> None:
    assert "lifecycle" not in inference((OLD, 10_000))["spec"]["predictor"]["containers"][0]


@pytest.mark.parametrize("bp", [1, 50, 99, 101, 2_550])
def test_parts_of_a_percent_are_refused_not_rounded(bp: int) -> None:
    with pytest.raises(ManifestError, match="canaryTrafficPercent is a whole number"):
        inference((OLD, 10_000 - bp), (NEW, bp))


def test_three_versions_under_traffic_are_refused() -> None:
    with pytest.raises(ManifestError, match="splits between two"):
        inference((OLD, 9_000), (NEW, 500), (THIRD, 500))
