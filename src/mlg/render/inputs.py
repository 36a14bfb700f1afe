"""What a rendering is made from: versions with their images, and where they shall run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlg.core.errors import ManifestError
from mlg.core.predict import ServingPolicy
from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_services import ServiceSpec

Object = dict[str, Any]
"""One object of the Kubernetes API, as a JSON value."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_REFERENCE: Final = re.compile(
    r"(?P<repository>[a-z0-9][a-z0-9._:/-]*?)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(@sha256:(?P<digest>[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVersion:
    """One version of a service, or one group of replicas of it."""

    version: str
    """The version, or its label: `3f2a9c~control` (see `core.traffic`)."""
    bp: int
    """Its share of the traffic; 0 keeps it warm."""
    image: str
    """Reference with a digest or a tag, as the container runtime pulls it."""
    artifact: str = ""
    """Digest that the model must have; empty: any that is signed."""
    signature: str = ""
    """Text of the model's signature; empty: the operator brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """One service as it is declared, and what runs of it."""

    name: str
    spec: ServiceSpec
    policy: ServingPolicy
    versions: tuple[RunningVersion, ...]
    """At least one; their shares sum to 10,000."""

    def __post_init__(self) -> None:
        labels = {version.version for version in self.versions}
        total = sum(version.bp for version in self.versions)
        whole = total == FULL_BP and all(0 <= v.bp <= FULL_BP for v in self.versions)
        if not whole or len(labels) != len(self.versions):
            raise ValueError(
                f"versions of {self.name!r} must have different names and shares that sum to "
                f"{FULL_BP} bp; got {[(v.version, v.bp) for v in self.versions]}"
            )

    @property
    def stable(self) -> RunningVersion:
        """The version with the most traffic."""
        return max(self.versions, key=lambda version: (version.bp, version.version))

    @property
    def model(self) -> str:
        """The Open Inference Protocol's name of what it serves."""
        return self.spec.model or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the objects shall live, and who lets viewers in."""

    project: str = ""
    namespace: str = ""
    """Written into every object; empty: the namespace that they are applied to."""
    gateway: str = "mlg"
    """Name of the Gateway; it is the operator's, and not rendered."""
    gateway_namespace: str = ""
    """Where the Gateway is; empty: beside the objects."""
    proxies_namespace: str = ""
    """Where the Gateway's proxies run, if not beside the Gateway."""
    trusted_keys: str = ""
    """Public keys that are believed, as PEM; empty: the operator brings them."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment that every server needs."""


def cluster_of(namespace: str, gateway: str, proxies_in: str) -> Cluster:
    """Return where to, from the words of an operator.

    Args:
        namespace: Of the objects, or empty.
        gateway: `[NAMESPACE/]NAME`.
        proxies_in: Namespace of the Gateway's proxies, or empty.

    Raises:
        ManifestError: A word is no name of the kind that is asked for.

    Examples:
        >>> cluster_of("", "edge/public", "").gateway_namespace
        'edge'
    """
    inside, slash, name = gateway.rpartition("/")
    words = (("--namespace", namespace), ("--gateway", inside), ("--proxies-in", proxies_in))
    for option, word in words:
        if word and not _LABEL.fullmatch(word):
            raise ManifestError(
                f"expected the name of a namespace, got {word!r}",
                where=option,
                hint="at most 63 of a-z, 0-9 and hyphens inside.",
            )
    if not _SUBDOMAIN.fullmatch(name) or len(name) > 253 or (slash and not inside):
        raise ManifestError(
            f"expected [NAMESPACE/]NAME, got {gateway!r}",
            where="--gateway",
            hint="kubectl get gateways lists them.",
        )
    return Cluster(
        namespace=namespace,
        gateway=name,
        gateway_namespace=inside,
        proxies_namespace=proxies_in,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The objects, by the file that they belong in, and what they cannot do."""

    files: tuple[tuple[str, tuple[Object, ...]], ...]
    """Name of the file and its objects, in the order in which they are applied."""
    notes: tuple[str, ...]
    """What the reader must know or do, one sentence each."""

    @property
    def objects(self) -> tuple[Object, ...]:
        """Every object, in order."""
        return tuple(one for _, objects in self.files for one in objects)


def image_reference(
    service: str, given: str | None, known: tuple[str, str] | None, versions: int = 1
) -> str:
    """Return the reference of a version's image: by digest, or as it was given.

    Args:
        service: Whose it is, for messages.
        given: A repository, or a reference with a tag or a digest; None: nothing was given.
        known: Name and digest (64 hex characters) of the image that was built; None: none is.
        versions: How many versions of the service run; one reference cannot be of two.

    Raises:
        ManifestError: No digest is known and none was given, the tag is `latest`, it is no
            reference, or it is meant to be several versions.

    Examples:
        >>> image_reference("home", "example.com/ranker", ("ranker:3f2a", "ab" * 32))[:31]
        'example.com/ranker@sha256:ababa'
        >>> image_reference("home", "ranker:2026-11-25", None)
        'ranker:2026-11-25'
    """
    where = f"service {service}"
    name, digest = known or ("", "")
    found = _REFERENCE.fullmatch(given if given is not None else name)
    if given is not None and found is None:
        raise ManifestError(
            f"expected the reference of an image, got {given!r}",
            where=where,
            hint="--image registry.example.com/ranker, or with @sha256:DIGEST.",
        )
    if given is not None and found is not None and (found["tag"] or found["digest"]):
        if found["tag"] == "latest":
            raise ManifestError(
                "the tag `latest` names another image tomorrow",
                where=where,
                hint="name it by digest: --image REPOSITORY@sha256:DIGEST.",
            )
        if versions > 1:
            raise ManifestError(
                f"{versions} versions run, and {given!r} is one image",
                where=where,
                hint="give the repository alone; digests are taken from the instance.",
            )
        return given
    if found is None or not _DIGEST.fullmatch(digest):
        raise ManifestError(
            "no image is known of what it should run",
            where=where,
            hint=f"run the pipeline and release it, or name one: "
            f"--image {service}=REPOSITORY@sha256:DIGEST.",
        )
    return f"{found['repository']}@sha256:{digest}"


def version_of_image(reference: str) -> str:
    """Return what to call a version of which only the image is known.

    Raises:
        ValueError: It is no reference of an image.

    Examples:
        >>> version_of_image("ranker:2026-11-25"), version_of_image("r@sha256:" + "ab" * 32)
        ('2026-11-25', 'abababababab')
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ValueError(f"no image reference: {reference!r}")
    return (found["digest"] or "")[:12] or found["tag"] or "unnamed"


def given_images(words: Sequence[str], services: Sequence[str]) -> dict[str, str]:
    """Return the reference that was given for each service, from `[SERVICE=]REFERENCE` words.

    Raises:
        ManifestError: A word names no service, is empty, or one is named twice.

    Examples:
        >>> given_images(["r", "search=s:1"], ["home", "search"])
        {'home': 'r', 'search': 's:1'}
    """
    named: dict[str, str] = {}
    for word in words:
        service, equals, reference = word.rpartition("=")
        if (equals and service not in services) or not reference or service in named:
            raise ManifestError(
                f"expected [SERVICE=]REFERENCE once a service, got {word!r}",
                where="--image",
                hint=f"services of the manifest: {', '.join(services) or 'none'}.",
            )
        named[service] = reference
    return {s: named.get(s, named.get("", "")) for s in services if s in named or "" in named}
