"""Bundles of a prediction, a model version and a service: standards, bytes, what they say."""

import hashlib
import io
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files as package_files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from prov.model import ProvDocument
from referencing import Registry, Resource

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.audit_bundle import read_bundle, verified, write_bundle
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.keys_local import anchor_key, anchor_over, anchor_public_key, load_anchors
from mlg.adapters.seal_parquet import find, seal, shown
from mlg.api.schemas import ExportRequest
from mlg.app.exporting import export, sign_head
from mlg.core.artifacts import Column, ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ConflictError, ManifestError, NotFoundError
from mlg.core.measure import Alert, Measurement
from mlg.core.principal import Principal
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri
from mlg.graph import bundle_verify
from mlg.graph.audit import anchor_path, encode_anchor, make_anchor, verify_chain
from mlg.graph.bundle import (
    model_files,
    prediction_files,
    service_files,
    verify_bundle,
    zip_bytes,
)
from mlg.graph.bundle_account import Evidence
from mlg.graph.bundle_quality import gini
from mlg.graph.encode import canonical
from mlg.graph.lineage import Answered
from mlg.graph.log_tree import LogTree
from mlg.graph.record import Recorder, deployment_uri, edge, node, segment_uri, snapshot_uri
from mlg.graph.record_acts import audit_exported, manifest_applied
from mlg.graph.record_alerts import alert_changed, alert_uri, incident_handled, incident_uri
from mlg.graph.record_automations import automation_run_uri, proposal_answered
from mlg.graph.record_models import evaluation_recorded, model_packaged, model_registered
from mlg.graph.record_rollouts import rollout_begun, rollout_moved, staging_ended
from mlg.graph.record_runs import (
    dataset_snapshotted,
    run_finished,
    run_started,
    step_finished,
    step_started,
)
from mlg.graph.record_services import deployment_started, process_changed, segment_sealed

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NASTY = '<script>alert("x")</script>'
OPENLINEAGE = Path(__file__).parents[1] / "contracts" / "openlineage"
KINDS = ("prediction", "model_version", "service")
REPORT = {
    "models": {
        "candidate": {
            "all": {"ndcg@10": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 9, "clusters": 4}}
        }
    },
    "groups": {"gender": [{"level": "F", "n": 3, "mean": 0.5, "sd": 0.1},
                          {"level": NASTY, "n": 2, "mean": 0.25, "sd": None}]},
}  # fmt: skip


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


class Home:
    """A home whose graph tells a whole life: data, training, release, drift, erasure."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.files = folder, LocalFiles(folder)
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.clock = ManualClock(START)
        self.store = SqliteGraph(folder / "graph.sqlite3", self.clock)
        self.reader = SqliteGraphReader(folder / "graph.sqlite3")
        self.r = Recorder(project="p", actor="local:ada", clock=self.clock, ids=Counter())
        self.model = self.r.uri("model_version", "ranker", "a" * 12)
        self.service = self.r.uri("service", "home")
        rows = [
            {
                "prediction_id": f"p{n}", "salt": hashlib.sha256(str(n).encode()).digest(),
                "service": "home", "items": [n, n + 1, 7], "scores": [0.5, 0.25, 0.125],
                "at": START + n * HOUR, "served_by": "model" if n else "fallback",
                "model_version": "a" * 12 if n else None, "confidence": n / 10,
            }
            for n in range(5)
        ]  # fmt: skip
        self.sealed = seal(rows, folder / "segments")
        self.artifacts.put(self.sealed.path)
        self.segment = segment_uri(self.r, "home", self.sealed.root)

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    def stored(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return self.artifacts.put(path)

    def sign(self) -> None:
        made = make_anchor(self.store, at=self.clock.now(), private_key=anchor_key(self.files))
        self.files.write(anchor_path(made), encode_anchor(made))

    def evidence(self) -> Evidence:
        return Evidence(
            reader=self.reader, log=self.store, tree=LogTree(self.store),
            anchor_for=lambda seq: anchor_over(self.files, seq), artifacts=self.artifacts,
            private_key=anchor_key(self.files),
        )  # fmt: skip

    def answered(self) -> Answered:
        return Answered(
            project="p", service="home", prediction_id="p3", at=START + 3 * HOUR,
            model_version=self.model, segment=self.segment, attrs=(("served_by", "model"),),
        )  # fmt: skip

    def bundle(self, kind: str, since: datetime = START, until: datetime = START + 24 * HOUR):
        if kind == "prediction":
            row = find(self.sealed.path, "p3")
            return dict(prediction_files(self.evidence(), self.answered(), row))
        if kind == "model_version":
            return dict(model_files(self.evidence(), self.model))
        spread = shown([self.sealed.path])
        return dict(service_files(self.evidence(), self.service, since, until, spread))


def data_events(home: Home) -> list[Any]:
    r = home.r
    columns = (Column(name="user_id", type="int64"), Column(name="stars", type="int64"))
    raw = Snapshot(
        dataset="ratings", digest="1" * 64, content_digest="2" * 64, rows=9, schema=columns,
        as_of=START, location="artifacts/1",
    )  # fmt: skip
    dataset = r.uri("dataset", "ratings")
    fields = json.dumps([{"column": "user_id", "purpose": "recommendation"},
                         {"column": "stars", "purpose": "quality"}])  # fmt: skip
    commit = r.uri("commit", "manifest", "f" * 12)
    data, step = snapshot_uri(r, "ratings", "1" * 64), r.uri("step", "ranker/train", "r1")
    return [
        manifest_applied(r, key="m", folder="f" * 64, datasets={"ratings": "csv://ratings"},
                         pipelines=["ranker"], services={"home": "ranker"}),
        r.event("mlg.dataset.declared", key="pf", subject=dataset,
                nodes=[node(dataset, {"personal_fields": fields})]),
        dataset_snapshotted(r, key="1", snapshot=raw, source="csv://ratings"),
        run_started(r, key="run", pipeline="ranker", run_id="r1", triggered_by=commit),
        step_started(r, key="s", pipeline="ranker", run_id="r1", step="train",
                     step_kind="train", inputs=[data]),
        step_finished(r, key="2", pipeline="ranker", run_id="r1", step="train", seconds=1.0,
                      inputs=[data]),
        model_registered(
            r, key="3", trained_on=[data], step=step,
            model=ModelVersion(
                name="ranker", version="a" * 12, artifact="a" * 64, trained_on=("1" * 64,),
                code="c" * 64, params=(("depth", 3),), metrics=(("ndcg@10", 0.25),), seed=7,
            ),
        ),
        run_finished(r, key="run-end", pipeline="ranker", run_id="r1", seconds=2.0),
    ]  # fmt: skip


def release_events(home: Home) -> list[Any]:
    r, model = home.r, home.model
    report = home.stored("evaluation.json", json.dumps(REPORT).encode())
    signature = home.stored("model.sig", b"detached signature of the model\n")
    data = snapshot_uri(r, "ratings", "1" * 64)
    rollout = r.uri("rollout", "home", "d1")
    gates = {"errors": "PASS: 3 of 900", "ctr": f"FAIL: {NASTY}"}
    return [
        evaluation_recorded(
            r, key="ev", model="ranker", version="a" * 12, evaluated_on=[data],
            metrics={"ndcg@10": 0.25}, passed=True,
            facts={"report": report, "gate.ndcg@10.min": "PASS: 0.25 above 0.1"},
        ),
        model_packaged(r, key="pk", model="ranker", version="a" * 12, artifact="a" * 64,
                       image="ranker", image_digest="b" * 64),
        r.event("mlg.model_version.signed", key="sig", subject=model,
                nodes=[node(model, {"signature_digest": signature, "signature_key_id": "k"})]),
        rollout_begun(r, key="ro", service="home", rollout_id="d1", candidate="a" * 12,
                      stable=None, triggered_by=r.uri("run", "ranker", "r1")),
        staging_ended(r, key="st", service="home", rollout_id="d1", number=0,
                      model_version=model, verdict="PASS", reason="all passed",
                      results={"golden": "PASS: same"}),
        rollout_moved(r, key="ro1", service="home", rollout_id="d1", number=1,
                      before="paused", after="canary", share_bp=500, reason="looks right",
                      by="local:bob", gates=gates),
        deployment_started(r, key="4", service="home", deployment_id="d1", model_version=model,
                           image_digest="b" * 64, image=r.uri("image", "ranker", "b" * 12),
                           triggered_by=rollout),
        process_changed(r, key="pr", process_id="replica-home-1", state="started",
                        service="home", deployment=deployment_uri(r, "home", "d1")),
    ]  # fmt: skip


def live_events(home: Home) -> list[Any]:
    r = home.r
    alert, incident = alert_uri(r, "m:1@b", "input_drift"), incident_uri(r, "m:1@b")
    measured = Measurement(
        subject=home.service, metric="ewma", value=9.0, unit="sd", n=1000, start=START,
        end=START + HOUR, limits=(None, 4.0), verdict="FAIL",
    )  # fmt: skip
    drift = Alert(uri=alert, measurement=measured, slice=f"job = {NASTY}", sample=None,
                  suspects=(), remediation="retrain", opened_at=START)  # fmt: skip
    return [
        alert_changed(r, key="al", word="opened", alert=drift, kind="input_drift", monitor="m",
                      service="home", incident=incident, feature="job", severity=0.5,
                      cause_named="shift"),
        incident_handled(r, key="in", word="retraining_begun", incident=incident,
                         service="home", reason="loss", triggered=r.uri("run", "ranker", "r2")),
    ]  # fmt: skip


def sealing(home: Home) -> Any:
    return segment_sealed(
        home.r, key="5", service="home", root=home.sealed.root, digest=home.sealed.digest,
        rows=home.sealed.count, location=f"artifacts/{home.sealed.digest}", first_at=START,
        last_at=START + 4 * HOUR, deployments=[deployment_uri(home.r, "home", "d1")],
    )  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory):
    """The home, its head signed; tests that append use `copy`."""
    home = Home(tmp_path_factory.mktemp("bundles") / "home")
    home.store.append(data_events(home))
    home.clock.wait(3600)
    home.store.append(release_events(home))
    home.clock.wait(3600)
    home.store.append(live_events(home))
    home.clock.wait(3600)
    erased = home.r.event(
        "mlg.erasure.performed", key="er", subject=home.segment, facts={"rows": 1}
    )
    home.store.append([sealing(home), erased])
    home.sign()
    yield home
    home.close()


@pytest.fixture
def copy(told: Home, tmp_path: Path):
    """A copy of the home that a test may write to."""
    shutil.copytree(told.folder, tmp_path / "copy" / "home")
    home = Home.__new__(Home)
    home.__dict__.update(told.__dict__)
    home.folder = tmp_path / "copy" / "home"
    home.files = LocalFiles(home.folder)
    home.store = SqliteGraph(home.folder / "graph.sqlite3", told.clock)
    home.reader = SqliteGraphReader(home.folder / "graph.sqlite3")
    yield home
    home.close()


def jsons(files: dict[str, bytes], name: str) -> Any:
    return json.loads(files[name])


def lines(files: dict[str, bytes], name: str) -> list[Any]:
    return [json.loads(line) for line in files[name].splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_verifies_and_has_the_same_bytes_each_time(told: Home, kind: str) -> None:
    files = told.bundle(kind)
    key = anchor_public_key(told.files)
    assert verify_bundle(files, key) == {"ok": True, "problems": [], "signed_by": key.hex()}
    assert zip_bytes(told.bundle(kind).items()) == zip_bytes(files.items())
    assert jsons(files, "subject.json")["kind"] == kind
    with zipfile.ZipFile(io.BytesIO(zip_bytes(files.items()))) as archive:
        assert archive.testzip() is None  # any unzip program reads it
        assert {name: archive.read(name) for name in archive.namelist()} == files


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_and_unrelated_events_leave_later_bundles_as_they_are(
    copy: Home, kind: str
) -> None:
    before = copy.bundle(kind)
    other = copy.r.uri("run", "other", "9")
    subject = {"prediction": copy.answered().uri, "model_version": copy.model}.get(
        kind, copy.service
    )
    of = copy.segment if kind == "prediction" else subject
    copy.store.append(
        [
            copy.r.event("mlg.run.started", key="new", subject=other),
            audit_exported(copy.r, key="x", subject=subject, bundle="9" * 64, of=of, files=3),
        ]
    )
    copy.clock.wait(60)
    copy.sign()
    assert copy.bundle(kind) == before
    walk = copy.reader.walk(of, "down", WalkOptions(depth=1))  # it hangs on what it is of
    assert "audit_export" in {one.node.kind for one in walk.nodes}


def test_what_tells_of_a_model_version_changes_its_bundle_and_needs_a_signed_head(
    copy: Home,
) -> None:
    before = copy.bundle("model_version")
    copy.store.append(
        [copy.r.event("mlg.model_version.noted", key="n", subject=copy.model,
                      nodes=[node(copy.model, {"note": "late"})])]
    )  # fmt: skip
    with pytest.raises(ConflictError, match="no signed head covers"):
        copy.bundle("model_version")
    copy.sign()
    after = copy.bundle("model_version")
    assert after["trace.json"] != before["trace.json"]
    assert copy.bundle("prediction")["trace.json"]  # as of its own, older head


# --- the standards


@pytest.mark.parametrize("kind", KINDS)
def test_prov_json_is_read_by_another_program_and_says_every_arrow(told: Home, kind) -> None:
    files = told.bundle(kind)
    document = ProvDocument.deserialize(content=files["prov.json"].decode(), format="json")
    relations = [one for one in document.get_records() if one.is_relation()]
    elements = {one.identifier.uri for one in document.get_records() if one.is_element()}
    trace = jsons(files, "trace.json")
    assert len(relations) == len(trace["edges"])
    assert elements == {one["uri"] for one in trace["nodes"]}
    for relation in relations:
        ends = [value.uri for _, value in relation.formal_attributes if hasattr(value, "uri")]
        assert set(ends) <= elements  # nothing hangs in the air
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document


def test_prov_has_the_words_of_the_recommendation(told: Home) -> None:
    found = jsons(told.bundle("prediction"), "prov.json")
    used = {(r["prov:activity"], r["prov:entity"]) for r in found["used"].values()}
    data = snapshot_uri(told.r, "ratings", "1" * 64).removeprefix("mlg://")
    assert ("mlg:step/mlg/p/ranker%2Ftrain@r1", f"mlg:{data}") in used
    made = {(r["prov:entity"], r["prov:activity"]) for r in found["wasGeneratedBy"].values()}
    model = f"mlg:model_version/mlg/p/ranker@{'a' * 12}"
    assert (model, "mlg:step/mlg/p/ranker%2Ftrain@r1") in made
    from_ = {(r["prov:generatedEntity"], r["prov:usedEntity"])
             for r in found["wasDerivedFrom"].values()}  # fmt: skip
    assert (model, f"mlg:{data}") in from_


def registry_of(folder: Any, names: list[str]) -> Registry:
    found = [json.loads((folder / name).read_bytes()) for name in names]
    return Registry().with_resources(
        [(one["$id"], Resource.from_contents(one)) for one in found]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_openlineage_events_and_their_facets_keep_the_published_schemas(told, kind) -> None:
    facets = [f"facets/{path.name}" for path in sorted((OPENLINEAGE / "facets").glob("*.json"))]
    registry = registry_of(OPENLINEAGE, ["OpenLineage.json", *facets])
    base = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    checker = Draft202012Validator.FORMAT_CHECKER
    whole = Draft202012Validator({"$ref": base}, registry=registry, format_checker=checker)
    events = lines(told.bundle(kind), "openlineage.jsonl")
    seen = 0
    for event in events:
        whole.validate(event)
        uuid.UUID(event["run"]["runId"])
        own = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
        for facet in [f for one in own for f in one.get("facets", {}).values()]:
            Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry).validate(
                facet
            )
            seen += 1
    assert [(e["job"]["name"], e["eventType"]) for e in events][:4] == [
        ("ranker", "START"), ("ranker.train", "START"), ("ranker.train", "COMPLETE"),
        ("ranker", "COMPLETE"),
    ]  # fmt: skip
    assert events[1]["run"]["facets"]["parent"]["run"]["runId"] == events[0]["run"]["runId"]
    assert [one["name"] for one in events[1]["inputs"]] == ["ratings"]
    assert seen >= 8


def cyclonedx() -> Draft7Validator:
    folder = package_files("cyclonedx") / "schema" / "_res"
    names = ["spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json"]
    schema = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_bytes())
    registry = registry_of(folder, [*names, "bom-1.6.SNAPSHOT.schema.json"])
    return Draft7Validator(
        schema, registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_bom_keeps_the_cyclonedx_schema_and_has_a_model_card(told: Home, kind) -> None:
    bom = jsons(told.bundle(kind), "bom.cdx.json")
    assert list(cyclonedx().iter_errors(bom)) == []
    model = bom["metadata"]["component"]
    assert (model["type"], model["bom-ref"]) == ("machine-learning-model", told.model)
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    card = model["modelCard"]
    figures = card["quantitativeAnalysis"]["performanceMetrics"]
    assert figures[0] == {
        "type": "ndcg@10", "value": "0.25", "slice": "all",
        "confidenceInterval": {"lowerBound": "0.2", "upperBound": "0.3"},
    }  # fmt: skip
    assert {"type": "hit@10", "value": "0.5", "slice": "gender = F"} in figures
    groups = card["considerations"]["fairnessAssessments"]
    assert groups[0]["groupAtRisk"] == "gender = F"
    refs = {one["bom-ref"] for one in bom["components"]}
    assert {one["ref"] for one in card["modelParameters"]["datasets"]} <= refs
    known = refs | {told.model}
    for one in bom["dependencies"]:
        assert {one["ref"], *one.get("dependsOn", [])} <= known


def test_a_bom_that_breaks_the_schema_is_refused_by_the_validator(told: Home) -> None:
    bom = jsons(told.bundle("model_version"), "bom.cdx.json")
    bom["metadata"]["component"]["modelCard"]["modelParameters"]["approach"]["type"] = "magic"
    assert list(cyclonedx().iter_errors(bom))


def test_the_training_is_an_in_toto_statement_with_slsa_provenance(told: Home) -> None:
    (statement,) = lines(told.bundle("model_version"), "provenance.intoto.jsonl")
    # in-toto Statement v1 and SLSA provenance v1: every required field, by their own names
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [one["digest"] for one in statement["subject"]] == [{"sha256": "a" * 64}]
    predicate = statement["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    definition = predicate["buildDefinition"]
    assert set(definition) == {
        "buildType", "externalParameters", "internalParameters", "resolvedDependencies"
    }  # fmt: skip
    assert definition["externalParameters"] == {"model": "ranker", "seed": 7, "param.depth": 3}
    digests = {
        one["uri"]: one["digest"]["sha256"] for one in definition["resolvedDependencies"]
    }
    assert digests == {
        snapshot_uri(told.r, "ratings", "1" * 64): "1" * 64,
        told.r.uri("commit", "manifest", "f" * 12): "f" * 64,
    }
    metadata = predicate["runDetails"]["metadata"]
    assert metadata["invocationId"] == told.r.uri("run", "ranker", "r1")
    assert metadata["startedOn"] <= metadata["finishedOn"]
    assert re.fullmatch(r"[a-z]+:.+", predicate["runDetails"]["builder"]["id"])
    assert predicate["runDetails"]["byproducts"][0]["digest"] == {"sha256": "b" * 64}


# --- what it says


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_approvals_drift_and_health_are_told(told: Home, kind: str) -> None:
    files = told.bundle(kind)
    gates = {(one["stage"], one["gate"]): one["verdict"] for one in jsons(files, "gates.json")}
    assert gates == {
        ("training", "ndcg@10.min"): "PASS", ("staging", "golden"): "PASS",
        ("canary", "errors"): "PASS", ("canary", "ctr"): "FAIL",
    }  # fmt: skip
    approvals = jsons(files, "approvals.json")
    assert [(one["by"], one["act"], one["reason"]) for one in approvals] == [
        ("local:bob", "canary", "looks right")
    ]
    sorts = [one["sort"] for one in jsons(files, "timeline.json")]
    assert {"evaluation", "release", "health"} <= set(sorts)
    assert ("drift" in sorts) == (kind != "model_version")  # the alert was of the service
    times = [(one["at"], one["seq"]) for one in jsons(files, "timeline.json")]
    assert times == sorted(times)
    quality = jsons(files, "quality.json")["models"]
    assert [one["groups"]["gender"][0]["level"] for one in quality] == ["F"]
    assert json.loads(files[quality[0]["report"]]) == REPORT
    name = f"model_signature/{'a' * 12}.sig"
    assert files[name] == b"detached signature of the model\n"
    purposes = jsons(files, "personal_fields.json")["purposes"]
    assert {p: [c["column"] for c in one] for p, one in purposes.items()} == {
        "recommendation": ["user_id"], "quality": ["stars"],
    }  # fmt: skip
    erased = [one["facts"] for one in jsons(files, "erasures.json")]
    assert erased == ([] if kind == "model_version" else [{"rows": 1}])


def test_an_answered_proposal_is_an_approval_of_who_answered(copy: Home) -> None:
    r, rule_run = copy.r, automation_run_uri(copy.r, "guard", "automation:guard:1")
    alert = alert_uri(r, "m:1@b", "input_drift")
    copy.store.append(
        [
            r.event("mlg.automation_run.decided", key="d", subject=rule_run,
                    edges=[edge(alert, "triggered", rule_run)]),
            proposal_answered(r, key="automation:guard:1", rule="guard", act=True,
                              reason="yes"),
        ]
    )  # fmt: skip
    copy.sign()
    found = jsons(copy.bundle("service"), "approvals.json")
    assert [(one["by"], one["act"], one["reason"]) for one in found] == [
        ("local:bob", "canary", "looks right"), ("local:ada", "approved", "yes"),
    ]  # fmt: skip


def test_a_period_has_what_was_there_in_it_and_nothing_later(told: Home) -> None:
    early = told.bundle("service", START, START + HOUR + timedelta(minutes=1))
    types = {json.loads(one["data"])["type"] for one in lines(early, "events.jsonl")}
    assert "mlg.deployment.started" in types
    assert not types & {"mlg.alert.opened", "mlg.prediction_segment.sealed"}
    whole = told.bundle("service")
    assert [one["rows"] for one in jsons(whole, "segments.json")] == [5]
    later = told.bundle("service", START + 90 * timedelta(minutes=1), START + 24 * HOUR)
    assert "deployment" in {one["kind"] for one in jsons(later, "trace.json")["nodes"]}
    with pytest.raises(NotFoundError):
        told.bundle("service", START - 3 * HOUR, START - HOUR)
    with pytest.raises(NotFoundError):
        service_files(told.evidence(), Uri("mlg://service/mlg/p/none"), START, START + HOUR)


def test_exposure_counts_what_the_sealed_answers_showed(told: Home) -> None:
    served = jsons(told.bundle("service"), "exposure.json")["served"]
    by_way = {one["served_by"]: one for one in served}
    # p1..p4 by the model: items (n, n+1, 7) each; p0 by the fallback
    assert by_way["model"]["answers"] == 4
    assert by_way["model"]["impressions"] == 12
    assert by_way["model"]["items"] == 6
    assert by_way["model"]["top"][0] == {"item": "7", "impressions": 4}
    assert by_way["fallback"] | {} == {
        "model_version": None, "served_by": "fallback", "answers": 1, "impressions": 3,
        "items": 3, "gini": pytest.approx(0.0),
        "top": [{"item": i, "impressions": 1} for i in ("0", "1", "7")],
    }  # fmt: skip


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int]) -> None:
    total, n = sum(counts), len(counts)
    if not total:
        assert gini(counts) is None
    else:  # the definition by all pairs
        pairs = sum(abs(a - b) for a in counts for b in counts)
        assert gini(counts) == pytest.approx(pairs / (2 * n * total), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_one_safe_page_with_every_part(told: Home, kind: str) -> None:
    page = told.bundle(kind)["report.html"].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page  # the name that tried is shown as text
    assert not re.search(r"(src|href)\s*=", page)
    assert "default-src 'none'" in page
    for heading in ("What it came of", "Quality, overall and by group", "Gates and tests",
                    "Approvals", "Timeline", "Personal fields by purpose",
                    "Erasures performed", "Files of this bundle"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert "compliant" not in page
    open_, closed = re.findall(r"<(table|tr|td|h2|p)>", page), re.findall(r"</(\w+)>", page)
    assert all(
        open_.count(tag) == closed.count(tag) for tag in ("table", "tr", "td", "h2", "p")
    )


# --- altered bytes


@pytest.fixture(scope="module")
def made(told: Home) -> dict[str, dict[str, bytes]]:
    return {kind: told.bundle(kind) for kind in KINDS}


NAMES = (
    "README.txt", "anchor.json", "approvals.json", "bom.cdx.json", "digests.json",
    "erasures.json", "events.jsonl", "exposure.json", "gates.json", "manifest.json",
    "manifest.sig.json", "merkle.json", "openlineage.jsonl", "personal_fields.json",
    "prediction.json", "prov.json", "provenance.intoto.jsonl", "public_key.pem",
    "quality.json", "report.html", "segments.json", "subject.json", "timeline.json",
    "trace.json", "verify.py",
)  # fmt: skip


def test_the_files_that_are_flipped_below_are_all_there_are(made) -> None:
    found = {name for files in made.values() for name in files if "/" not in name}
    assert found == set(NAMES)
    assert all(any("/" in name for name in files) for files in made.values())


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    name=st.floats(0, 1),
    place=st.floats(0, 1),
    flip=st.integers(1, 255),
)
def test_a_flipped_byte_of_any_file_is_found_and_the_file_named(
    made, kind, name, place, flip
) -> None:
    files = made[kind]
    chosen = sorted(files)[min(int(name * len(files)), len(files) - 1)]
    content = bytearray(files[chosen])
    content[min(int(place * len(content)), len(content) - 1)] ^= flip
    problems = bundle_verify.check({**files, chosen: bytes(content)})
    assert problems
    if chosen == "manifest.json":  # a name or digest in it accuses the file it is of
        return
    assert problems[0].startswith(f"{chosen}:")


def test_a_digit_of_the_signature_in_the_other_case_is_found(made) -> None:
    files = made["prediction"]
    content = files["manifest.sig.json"]
    place = next(n for n in range(content.index(b'"signature":"') + 13, len(content))
                 if chr(content[n]) in "abcdef")  # fmt: skip
    other = content[:place] + content[place : place + 1].upper() + content[place + 1 :]
    (problem,) = bundle_verify.check({**files, "manifest.sig.json": other})
    assert problem.startswith("manifest.sig.json:")


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_in_the_archive_is_found(made, place, flip) -> None:
    content = bytearray(zip_bytes(made["service"].items()))
    content[min(int(place * len(content)), len(content) - 1)] ^= flip
    files, damage = bundle_verify.unzipped(bytes(content))
    assert bundle_verify.check(files) or damage


def test_bytes_cut_off_or_added_to_the_archive_are_found(made) -> None:
    whole = zip_bytes(made["service"].items())
    rng = random.Random(1)  # noqa: S311 - places, no secrets
    for size in (0, 3, 40, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(20))):
        assert bundle_verify.unzipped(whole[:size])[1], size
    assert bundle_verify.unzipped(whole + b"\0")[1] == [
        f"the archive is altered at byte {len(whole)} (or written by another program)"
    ]
    assert bundle_verify.unzipped(whole) == (made["service"], [])


@pytest.mark.parametrize("name", ["approvals.json", "anchor.json"])
def test_a_file_taken_away_or_put_in_is_found(made, name) -> None:
    files = made["prediction"]
    less = {one: content for one, content in files.items() if one != name}
    assert bundle_verify.check(less) == [f"{name}: missing"]
    assert bundle_verify.check({**files, "extra.json": b"{}"}) == [
        "extra.json: not in manifest.json"
    ]


def run(path: Path, *arguments: str, search: str | None = None) -> tuple[int, str]:
    env = {"PATH": search} if search is not None else None
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path / "verify.py"), *arguments],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return write_bundle(sorted(made["service"].items()), tmp_path / "bundle")


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed"
)


def test_without_openssl_the_script_says_that_it_checked_no_signature(folder) -> None:
    status, said = run(folder, search="/nowhere")
    assert status == 0, said
    assert "UNCHECKED  the Ed25519 signatures of anchor.json and manifest.json" in said
    assert "openssl is not on the PATH" in said
    assert "compare public_key.pem" in said


@needs_openssl
def test_with_openssl_the_script_checks_both_signatures_and_the_key(folder, told) -> None:
    status, said = run(folder)
    assert (status, "signatures of anchor.json" in said) == (0, False), said
    public = told.folder / "keys" / "anchor.pub"
    status, said = run(folder, str(folder), "--key", str(public))
    assert (status, "whose key" in said) == (0, False), said
    other = folder.parent / "other.pub"
    other.write_text("00" * 32)
    status, said = run(folder, str(folder), "--key", str(other))
    assert status == 1
    assert "WRONG      public_key.pem: not the key in other.pub" in said


@needs_openssl
def test_with_openssl_a_page_redone_by_a_forger_is_found(folder) -> None:
    page = folder / "report.html"
    page.write_bytes(page.read_bytes().replace(b"FAIL", b"PASS"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["report.html"] = hashlib.sha256(page.read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(canonical(manifest))
    over = json.loads((folder / "manifest.sig.json").read_bytes())
    over["signed_sha256"] = hashlib.sha256(canonical(manifest)).hexdigest()
    (folder / "manifest.sig.json").write_bytes(canonical(over))
    status, said = run(folder)
    assert status == 1
    assert "WRONG      manifest.json: its signature is not of the key" in said
    assert run(folder, search="/nowhere")[0] == 0  # and without it, it says what it left out


def test_the_script_names_the_altered_file_of_an_archive(made, tmp_path) -> None:
    content = zip_bytes(made["prediction"].items())
    at = content.index(b"Audit bundle: prediction")
    (tmp_path / "b.zip").write_bytes(content[:at] + b"X" + content[at + 1 :])
    (tmp_path / "verify.py").write_bytes(made["prediction"]["verify.py"])
    status, said = run(tmp_path, str(tmp_path / "b.zip"))
    assert (status, said.splitlines()[0]) == (1, "WRONG      report.html: altered")
    (tmp_path / "b.zip").write_bytes(content)
    assert run(tmp_path, str(tmp_path / "b.zip"))[0] == 0
    assert read_bundle(tmp_path / "b.zip") == made["prediction"]


def test_a_bundle_on_disk_is_judged_with_its_archive(made, told, tmp_path) -> None:
    path, key = tmp_path / "b.zip", anchor_public_key(told.files)
    whole = zip_bytes(made["prediction"].items())
    path.write_bytes(whole)
    assert verified(path, key)["ok"]
    assert verified(path, bytes(32))["problems"] == [
        "anchor.json: not signed by the expected key",
        "manifest.json: not signed by the expected key",
    ]
    path.write_bytes(whole[:-1])
    assert verified(path, key)["problems"] == [
        f"the archive is altered at byte {len(whole) - 1} (or written by another program)"
    ]
    path.write_bytes(b"PK no")
    assert verified(path, key)["ok"] is False
    with pytest.raises(BackendError, match="cannot be read"):
        verified(tmp_path / "none.zip")


# --- refusals


def test_too_much_is_refused_and_never_cut(told: Home, monkeypatch) -> None:
    monkeypatch.setattr("mlg.graph.bundle_scope.MOST_NODES", 3)
    with pytest.raises(ManifestError, match="more than 3 things"):
        told.bundle("model_version")
    monkeypatch.undo()
    monkeypatch.setattr("mlg.graph.bundle_account.MOST_EVENTS", 3)
    with pytest.raises(ManifestError, match="at most 3"):
        told.bundle("model_version")


def test_a_report_or_signature_that_is_gone_is_told_not_made_up(copy: Home) -> None:
    bare = replace(copy.evidence(), artifacts=LocalArtifacts(copy.folder / "empty"))
    files = dict(model_files(bare, copy.model))
    assert not [name for name in files if "/" in name]
    (model,) = jsons(files, "quality.json")["models"]
    assert (model["report"], model["groups"]) == (None, {})
    figures = jsons(files, "bom.cdx.json")["metadata"]["component"]["modelCard"]
    metrics = figures["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics == [{"type": "ndcg@10", "value": "0.25", "slice": "held out"}]
    assert verify_bundle(files)["ok"]


def test_an_attached_file_whose_digest_no_event_names_is_found(made) -> None:
    files = {**made["model_version"], "model_signature/other.sig": b"made up"}
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["model_signature/other.sig"] = hashlib.sha256(b"made up").hexdigest()
    files["manifest.json"] = canonical(manifest)
    over = json.loads(files["manifest.sig.json"])
    over["signed_sha256"] = hashlib.sha256(files["manifest.json"]).hexdigest()
    files["manifest.sig.json"] = canonical(over)
    assert bundle_verify.check(files) == [
        "model_signature/other.sig: no event names its digest"
    ]


def test_a_column_edge_and_an_owner_are_told_in_prov(copy: Home) -> None:
    team, data = copy.r.uri("team", "owners"), snapshot_uri(copy.r, "ratings", "1" * 64)
    column = copy.r.uri("column", "ratings/user_id")
    copy.store.append(
        [copy.r.event("mlg.x.y", key="own", subject=data,
                      edges=[edge(team, "owned_by", data), edge(column, "column_of", data)])]
    )  # fmt: skip
    copy.sign()
    found = jsons(copy.bundle("model_version"), "prov.json")
    assert any("column" in one["prov:influencer"] for one in found["wasInfluencedBy"].values())


# --- asked for


class NoSeals:
    """Seals that have nothing new to seal, and say for whom they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def seal(self, service: str) -> int:
        self.asked.append(service)
        return 0


@pytest.fixture
def parts(copy: Home) -> Any:
    return SimpleNamespace(
        store=copy.store, reader=copy.reader, files=copy.files, clock=copy.clock,
        artifacts=copy.artifacts, seals=NoSeals(),
        recorder=lambda actor: replace(copy.r, actor=actor),
    )  # fmt: skip


ADA = Principal(subject="local:ada", roles=("admin",), via="loopback")
PERIOD = {"from_": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}


def asks(copy: Home) -> dict[str, ExportRequest]:
    return {
        "prediction": ExportRequest(prediction_id="p3"),
        "model_version": ExportRequest(model_version=copy.model),
        "service": ExportRequest(service="home", **PERIOD),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_caller_taking_the_same_bundle_again_is_one_event(parts, copy, kind) -> None:
    def look(_: str) -> Any:
        return copy.answered(), find(copy.sealed.path, "p3")

    asked = asks(copy)[kind]
    before = parts.store.last_seq()
    name, content = export(parts, asked, look, ADA)
    assert re.fullmatch(r"audit-[\w.-]+\.zip", name)
    assert parts.store.last_seq() == before + 1
    assert export(parts, asked, look, ADA) == (name, content)
    assert parts.store.last_seq() == before + 1
    assert export(parts, asked, look, replace(ADA, subject="local:eve")) == (name, content)
    assert parts.store.last_seq() == before + 2
    (event, _) = parts.store.events(before)
    assert event.event.type == "mlg.audit_export.created"
    (made,) = [n for n in event.event.nodes if n.digest]
    assert made.digest == hashlib.sha256(content).hexdigest()
    subject = json.loads(bundle_verify.unzipped(content)[0]["subject.json"])["uri"]
    assert dict(made.attrs)["of"] == subject
    assert parts.seals.asked == (["home"] * 3 if kind == "service" else [])


def test_a_head_is_signed_once_and_its_tree_kept_or_made_again(parts, copy) -> None:
    head = copy.store.last_seq()
    assert [*copy.files.list("anchors")] == [f"anchors/{head:012d}.json"]
    sign_head(parts)
    assert len(copy.files.list("anchors")) == 1  # nothing new: nothing is signed again
    copy.store.append(
        [copy.r.event("mlg.x.y", key="n", subject=copy.model, nodes=[node(copy.model)])]
    )
    name, content = export(parts, asks(copy)["model_version"], print, ADA)
    anchors = copy.files.list("anchors")
    assert anchors[-1] == f"anchors/{head + 1:012d}.json"  # for the export
    files, _ = bundle_verify.unzipped(content)
    assert json.loads(files["anchor.json"])["seq"] == head + 1
    copy.files.write("log_tree.bin", b"\x01" * 64)  # damaged: it is only a shortcut
    assert export(parts, asks(copy)["model_version"], print, ADA) == (name, content)
    sign_head(parts)
    key = anchor_public_key(copy.files)
    assert verify_chain(copy.store, load_anchors(copy.files), key)["ok"]


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({}, ManifestError, "exactly one"),
        ({"prediction_id": "p", "service": "home"}, ManifestError, "exactly one"),
        ({"model_version": "ranker"}, ManifestError, "expected mlg://"),
        (
            {"model_version": "mlg://service/mlg/p/home"},
            ManifestError,
            "expected a model_version",
        ),
        ({"model_version": "mlg://model_version/mlg/p/x@1"}, NotFoundError, "no such node"),
        ({"model_version": "x", "to": "2026-01-01T00:00:00Z"}, ManifestError, "service only"),
        ({"service": "home"}, ManifestError, "needs a period"),
        ({"service": "home", "from_": "yesterday", "to": "today"}, ManifestError, "yesterday"),
        (
            {"service": "home", "from_": PERIOD["to"], "to": PERIOD["from_"]},
            ManifestError,
            "period",
        ),
        ({"service": "none", **PERIOD}, NotFoundError, "no such node"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_recorded(
    parts, asked, error, words
) -> None:
    before = parts.store.last_seq()
    with pytest.raises(error, match=words):
        export(parts, ExportRequest(**asked), print, ADA)
    assert parts.store.last_seq() == before
    assert parts.seals.asked == []
