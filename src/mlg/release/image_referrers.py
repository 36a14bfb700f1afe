"""What is told of an image beside it: signature and bill of materials, as OCI referrers.

A referrer is a manifest with a `subject`. They are listed by the index under the tag
`sha256-<digest>`, which also registries without the referrers API understand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import rfc8785

from mlg.core.uris import Digest
from mlg.release.image import MANIFEST_TYPE, REF_NAME, descriptor, digest_of, index_of

EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"
BOM_TYPE: Final = "application/vnd.cyclonedx+json"
SIGNATURE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""As cosign 3 attaches its bundles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """One document about an image."""

    artifact_type: str
    content: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> Digest:
        """sha256 of its manifest."""
        return digest_of(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All that must be stored: its manifest comes last."""
        return (EMPTY, self.content, self.manifest)

    def entry(self) -> dict[str, Any]:
        """Return its entry of the index of referrers."""
        found = {
            **descriptor(MANIFEST_TYPE, self.manifest),
            "artifactType": self.artifact_type,
        }
        return {**found, "annotations": dict(self.annotations)} if self.annotations else found


def referrer_of(
    subject: bytes,
    artifact_type: str,
    content: bytes,
    annotations: Mapping[str, str] | None = None,
) -> Referrer:
    """Return a document as a referrer of an image.

    Args:
        subject: The image's manifest.
        artifact_type: What the document is; also the media type of its one layer.
        content: The document.
        annotations: What is said of it without opening it.

    Source:
        OCI Image Format Specification 1.1: manifest.md, "Guidelines for Artifact Usage".
    """
    told = dict(annotations or {})
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": descriptor(EMPTY_TYPE, EMPTY),
        "layers": [descriptor(artifact_type, content)],
        "subject": descriptor(MANIFEST_TYPE, subject),
    }
    if told:
        manifest["annotations"] = told
    return Referrer(
        artifact_type=artifact_type,
        content=content,
        manifest=rfc8785.dumps(manifest),
        annotations=tuple(sorted(told.items())),
    )


def referrers_index(referrers: Sequence[Referrer]) -> bytes:
    """Return the index of an image's referrers, sorted by digest."""
    return index_of([one.entry() for one in sorted(referrers, key=lambda one: one.digest)])


def referrers_tag(digest: str) -> str:
    """Return the tag under which the referrers of a manifest are listed.

    Source:
        OCI Distribution Specification 1.1, "Referrers Tag Schema".

    Examples:
        >>> referrers_tag("e3b0")
        'sha256-e3b0'
    """
    return f"sha256-{digest}"


def tagged_entry(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an index entry under a reference name."""
    return {**entry, "annotations": {REF_NAME: name}}
