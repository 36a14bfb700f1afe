"""Who asks, and what he may do."""

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["viewer", "operator", "admin"]

_RANK: Final[dict[str, int]] = {"viewer": 0, "operator": 1, "admin": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """One authenticated caller."""

    subject: str
    roles: tuple[Role, ...]
    via: str
    """How the caller was known: `loopback`, `token`, `oidc`."""

    def may(self, role: Role) -> bool:
        """Return whether the caller holds this role or a higher one.

        Examples:
            >>> Principal(subject="local:ada", roles=("admin",), via="loopback").may("viewer")
            True
        """
        return any(_RANK[held] >= _RANK[role] for held in self.roles)
