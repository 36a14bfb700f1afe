"""The whole manifest as types; each topic has its own module."""

from typing import Literal

from msgspec import field

from mlg.manifest.specs_automations import AutomationSpec
from mlg.manifest.specs_base import Identifier, Name, Spec
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_experiments import ExperimentSpec
from mlg.manifest.specs_pipelines import PipelineSpec
from mlg.manifest.specs_services import ServiceSpec
from mlg.manifest.specs_watch import CalendarEntry, MonitorSpec


class ManifestSpec(Spec, frozen=True, kw_only=True):
    """One project: its data, its pipelines, its services, and what watches over them."""

    version: Literal[1]
    """Version of the manifest's form."""
    project: Name
    """Name of the project; the namespace of everything in the graph."""
    datasets: dict[Identifier, DatasetSpec] = field(default_factory=dict[str, DatasetSpec])
    """Tables from outside, with their contracts."""
    pipelines: dict[Name, PipelineSpec] = field(default_factory=dict[str, PipelineSpec])
    """Steps from tables to models."""
    services: dict[Name, ServiceSpec] = field(default_factory=dict[str, ServiceSpec])
    """Recommenders that viewers ask."""
    experiments: dict[Name, ExperimentSpec] = field(default_factory=dict[str, ExperimentSpec])
    """Versions compared on viewers; at most one of a service runs at a time."""
    monitors: dict[Name, MonitorSpec] = field(default_factory=dict[str, MonitorSpec])
    """Charts over live traffic."""
    calendar: tuple[CalendarEntry, ...] = ()
    """Expected changes: promotions, seasons, planned work."""
    automations: dict[Name, AutomationSpec] = field(default_factory=dict[str, AutomationSpec])
    """Rules that act on events."""
