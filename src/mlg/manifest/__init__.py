"""YAML to typed specifications, with the place of every mistake."""

from mlg.manifest.inactive import InactiveKey, inactive_keys
from mlg.manifest.load import Manifest, load_manifest, manifest_from_source, parse_manifest
from mlg.manifest.order import OrderedStep, topological_steps
from mlg.manifest.plan import Change, KeyChange, plan
from mlg.manifest.schema import json_schema
from mlg.manifest.specs import ManifestSpec

__all__ = [
    "Change",
    "InactiveKey",
    "KeyChange",
    "Manifest",
    "ManifestSpec",
    "OrderedStep",
    "inactive_keys",
    "json_schema",
    "load_manifest",
    "manifest_from_source",
    "parse_manifest",
    "plan",
    "topological_steps",
]
