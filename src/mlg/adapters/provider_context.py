"""What a provider is opened with."""

from dataclasses import dataclass, field
from pathlib import Path

from mlg.core.clock import Clock
from mlg.core.ports import Network, Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider is opened with: its settings and its way to the world."""

    url: str
    """Address of the source of truth."""
    namespace: str = ""
    """Second part of the URIs; empty: the provider takes it from the address."""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    """Token and password may be `secret://…`; `secrets` resolves them at use."""
    requests_per_s: float = 10.0
    folder: Path = Path()
    """Where relative paths begin."""
    network: Network
    secrets: Secrets
    clock: Clock
