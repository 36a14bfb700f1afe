"""Real schemas, offline: Kubernetes' own by version, and the two in `tests/contracts`."""

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate

VERSIONS = ("1.30", "1.33", "1.37")
"""The first with a pre-stop sleep that is on by default, one between, the newest known."""
_CONTRACTS = Path(__file__).resolve().parent / "contracts" / "kubernetes"
_GROUPS = {
    "v1": "v1",
    "apps/v1": "apps-v1",
    "autoscaling/v2": "autoscaling-v2",
    "policy/v1": "policy-v1",
    "networking.k8s.io/v1": "networking-v1",
}
_OF_KSERVE = {"minReplicas", "maxReplicas", "canaryTrafficPercent"}


def errors_of(one: dict[str, Any], version: str) -> list[str]:
    """Return what a schema says against an object, with its place."""
    kind = one["kind"]
    if kind not in {"HTTPRoute", "InferenceService"}:
        return _told(_core(f"{kind.lower()}-{_GROUPS[one['apiVersion']]}", version), one)
    found = _told(_contract(f"{kind.lower()}.json"), one)
    if kind == "InferenceService":
        found += _told(_core("podspec-v1", version), pod_of(one))
    return found


def pod_of(one: dict[str, Any]) -> dict[str, Any]:
    """Return the PodSpec of a Deployment or an InferenceService."""
    if one["kind"] == "Deployment":
        return one["spec"]["template"]["spec"]
    predictor = one["spec"]["predictor"]
    return {key: value for key, value in predictor.items() if key not in _OF_KSERVE}


def _told(validator: Any, one: Any) -> list[str]:
    return [f"{list(e.instance_path)}: {e.message[:300]}" for e in validator.iter_errors(one)]


@lru_cache
def _contract(name: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads((_CONTRACTS / name).read_bytes()))


@lru_cache
def _definitions(version: str) -> Any:
    content = json.loads((_folder(version) / "_definitions.json").read_bytes())
    return jsonschema_rs.Registry([("json-schema:///_definitions.json", content)])


@lru_cache
def _core(name: str, version: str) -> Any:
    schema = json.loads((_folder(version) / f"{name}.json").read_bytes())
    return jsonschema_rs.Draft7Validator(schema, registry=_definitions(version))


def _folder(version: str) -> Path:
    folder = f"v{version}.0-local-strict"
    return Path(str(files(kubernetes_validate) / "kubernetes-json-schema" / folder))
