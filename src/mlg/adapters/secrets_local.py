"""Secrets from environment variables and files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlg.core.errors import NotFoundError

if TYPE_CHECKING:
    from mlg.core.ports import Secrets

_SCHEME: Final = "secret://"


class LocalSecrets:
    """Resolves `secret://env/NAME` and `secret://file/PATH` at each use.

    Args:
        env: The variables.
        folder: Where a relative PATH begins; `secret://file//run/x` is absolute.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env, self._folder = env, folder

    def resolve(self, ref: str) -> str:
        kind, _, name = ref.removeprefix(_SCHEME).partition("/")
        if not ref.startswith(_SCHEME) or kind not in ("env", "file") or not name:
            # what stands there may be the secret itself: it is not repeated
            where = "(no reference)" if ref else "(empty)"
            raise NotFoundError(
                "expected secret://env/NAME or secret://file/PATH",
                where=ref if ref.startswith(_SCHEME) else where,
                hint="write where the secret is, never the secret.",
            )
        if kind == "env":
            text = self._env.get(name)
            if text is None:
                raise NotFoundError(
                    "environment variable is not set",
                    where=ref,
                    hint=f"set {name} before `mlg up`",
                )
            return text
        try:
            return (self._folder / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFoundError(
                "secret file could not be read",
                where=ref,
                hint="it must be there, readable and UTF-8 text",
            ) from error


if TYPE_CHECKING:
    _: Secrets = LocalSecrets({}, Path())
