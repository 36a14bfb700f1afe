"""Secrets from a mapping, for tests and the simulator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlg.core.errors import NotFoundError

if TYPE_CHECKING:
    from mlg.core.ports import Secrets


class MemorySecrets:
    """Knows the secrets it was given, by their whole reference."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def resolve(self, ref: str) -> str:
        if ref not in self._secrets:
            # what is no reference may be the secret itself: it is not repeated
            no_reference = "(no reference)" if ref else "(empty)"
            where = ref if ref.startswith("secret://") else no_reference
            raise NotFoundError("there is no such secret", where=where)
        return self._secrets[ref]


if TYPE_CHECKING:
    _: Secrets = MemorySecrets({})
