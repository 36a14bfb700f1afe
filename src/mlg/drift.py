"""Drift of tables, without an instance: `mlg.drift.check(baseline, live)`."""

from mlg.app.drift_check import check, document, keep_baseline
from mlg.monitors.check import ChartFound, CheckReport, FeatureFound, SliceFound

__all__ = [
    "ChartFound",
    "CheckReport",
    "FeatureFound",
    "SliceFound",
    "check",
    "document",
    "keep_baseline",
]
