"""Every error this package raises on purpose.

LifecycleError
├── ManifestError      the user's YAML is wrong         exit 2, HTTP 422
├── NotFoundError      a named thing is not there       exit 3, HTTP 404
├── ConflictError      state moved under the caller     exit 4, HTTP 409
├── DeniedError        the principal lacks the role     exit 2, HTTP 403
└── BackendError       a store, engine or proxy failed  exit 5, HTTP 503
    ├── ContractError  data does not keep its contract  exit 5, HTTP 503
    ├── ExhaustedError a process has no memory left     exit 12
    └── RefusedError   a model or image fails its check exit 5, HTTP 503
"""

from typing import ClassVar


class LifecycleError(Exception):
    """Base class: what happened, where, and what to do about it.

    Args:
        what: What was expected and what was found, in one sentence.
        where: The place: ``file:line:column``, a dataset, a port, a path.
        hint: One thing the reader can do.

    Examples:
        >>> str(ManifestError("expected a mapping, got a list", where="mlg.yaml:3:1"))
        'mlg.yaml:3:1: expected a mapping, got a list'
    """

    code: ClassVar[str] = "lifecycle"
    exit_code: ClassVar[int] = 5
    http_status: ClassVar[int] = 500

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.what, self.where, self.hint = what, where, hint

    def as_dict(self) -> dict[str, str]:
        """Return the error as the JSON object that the API and `--json` print."""
        return {"error": self.code, "what": self.what, "where": self.where, "hint": self.hint}


class ManifestError(LifecycleError):
    """The user's YAML, or the way a command was called, is wrong."""

    code = "manifest"
    exit_code = 2
    http_status = 422


class NotFoundError(LifecycleError):
    """A named thing is not there."""

    code = "not_found"
    exit_code = 3
    http_status = 404


class ConflictError(LifecycleError):
    """State moved under the caller, or the same key came with other content."""

    code = "conflict"
    exit_code = 4
    http_status = 409


class DeniedError(LifecycleError):
    """The caller is not who may do this."""

    code = "denied"
    exit_code = 2
    http_status = 403


class BackendError(LifecycleError):
    """A store, an engine, a process or a proxy failed."""

    code = "backend"
    exit_code = 5
    http_status = 503


class ExhaustedError(BackendError):
    """A process has used up what it may use, and is worth more when it starts anew."""

    code = "exhausted"
    exit_code = 12


class ContractError(BackendError):
    """Data does not keep the contract that the manifest declares for it."""

    code = "contract"


class RefusedError(BackendError):
    """A model or an image is not what was signed; trying again changes nothing."""

    code = "refused"

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "restore the artifact and its signature, then: mlg restart SERVICE.",
    ) -> None:
        super().__init__(what, where=where, hint=hint)
