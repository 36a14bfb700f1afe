"""Names of things: `mlg://<kind>/<provider>/<namespace>/<name>[@<version>]`."""

from dataclasses import dataclass
from typing import NewType
from urllib.parse import quote, unquote

Uri = NewType("Uri", str)
"""`mlg://model_version/mlg/movies/ranker@3f2a…`; parts are percent-encoded."""

Digest = NewType("Digest", str)
"""Lower-case hex sha256 of the content, 64 characters."""

EventId = NewType("EventId", str)
"""UUIDv7 of an event."""

_SCHEME = "mlg://"


@dataclass(frozen=True, slots=True, kw_only=True)
class UriParts:
    """A URI taken apart; every part is decoded text."""

    kind: str
    provider: str
    namespace: str
    name: str
    version: str | None = None


def make_uri(
    kind: str, namespace: str, name: str, version: str | None = None, *, provider: str = "mlg"
) -> Uri:
    """Return the URI of a thing; any text is allowed in a part, empty parts are not.

    Raises:
        ValueError: A part is empty.

    Examples:
        >>> make_uri("model_version", "movies", "ranker", "3f2a")
        'mlg://model_version/mlg/movies/ranker@3f2a'
        >>> make_uri("dataset", "s3://bucket", "a/b@c", provider="openlineage")
        'mlg://dataset/openlineage/s3%3A%2F%2Fbucket/a%2Fb%40c'
    """
    parts = (kind, provider, namespace, name)
    if not all(parts) or version == "":
        raise ValueError(f"a URI part is empty: {parts}, version {version!r}")
    path = "/".join(quote(part, safe="") for part in parts)
    return Uri(f"{_SCHEME}{path}" + (f"@{quote(version, safe='')}" if version else ""))


def parse_uri(uri: str) -> UriParts:
    """Return the decoded parts of a URI made by `make_uri`.

    Raises:
        ValueError: The text is not a URI of this form.

    Examples:
        >>> parse_uri("mlg://dataset/openlineage/s3%3A%2F%2Fbucket/a%2Fb%40c").name
        'a/b@c'
    """
    parts = uri.removeprefix(_SCHEME).split("/")
    if not uri.startswith(_SCHEME) or len(parts) != 4 or not all(parts):
        raise ValueError(
            f"expected mlg://<kind>/<provider>/<namespace>/<name>[@<version>], got {uri!r}"
        )
    kind, provider, namespace, last = parts
    name, at, version = last.partition("@")
    if not name or (at and not version):
        raise ValueError(f"name or version of {uri!r} is empty")
    if "%" in uri:
        kind, provider, namespace = unquote(kind), unquote(provider), unquote(namespace)
        name, version = unquote(name), unquote(version)
    return UriParts(
        kind=kind,
        provider=provider,
        namespace=namespace,
        name=name,
        version=version if at else None,
    )
