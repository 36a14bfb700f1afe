"""What an image is made of, as a CycloneDX 1.6 bill of materials.

Source:
    ECMA-424 (1st edition), CycloneDX bill of materials specification 1.6.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rfc8785

from mlg.core.uris import Digest
from mlg.release.image import LayerBlob

_SPACE: Final = uuid.UUID("7d6a5b6f-21a4-5b53-9d0e-4c1f8c7a9be2")
_PYTHON: Final = "# python "


def image_bom(
    name: str,
    digest: Digest,
    layers: Sequence[LayerBlob],
    lock: str,
    labels: Mapping[str, str],
) -> bytes:
    """Return the bill of materials of an image, canonical; it holds no time.

    Args:
        name: Reference of the image, `<name>:<version>`.
        digest: sha256 of its manifest.
        layers: Its layers, lowest first.
        lock: Its `serving.lock`.
        labels: Its labels; those of the graph become properties and the model's component.

    Examples:
        >>> b'"CycloneDX"' in image_bom("a:1", Digest("0" * 64), (), "", {})
        True
    """
    plain, _, version = name.rpartition(":")
    subject: dict[str, Any] = {
        "type": "container",
        "bom-ref": f"image:sha256:{digest}",
        "name": plain or name,
        **({"version": version} if plain else {}),
        "purl": f"pkg:oci/{(plain or name).rpartition('/')[2]}@sha256%3A{digest}",
        "hashes": [_hash(digest)],
        "properties": _properties(labels),
    }
    parts = _components(layers, lock, labels)
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "mlg"}]},
            "component": subject,
        },
        "components": parts,
        "dependencies": [
            {"ref": subject["bom-ref"], "dependsOn": sorted({p["bom-ref"] for p in parts})}
        ],
    }
    serial = uuid.uuid5(_SPACE, rfc8785.dumps(document).decode())
    return rfc8785.dumps({**document, "serialNumber": f"urn:uuid:{serial}"})


def _components(
    layers: Sequence[LayerBlob], lock: str, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    packages = [line.split("==") for line in lock.splitlines() if "==" in line]
    parts: list[dict[str, Any]] = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package}@{at}",
            "name": package,
            "version": at,
            "purl": f"pkg:pypi/{package}@{at}",
        }
        for package, at in packages
    ]
    parts += [
        {
            "type": "platform",
            "bom-ref": f"python:{line.removeprefix(_PYTHON)}",
            "name": "python",
            "version": line.removeprefix(_PYTHON),
        }
        for line in lock.splitlines()
        if line.startswith(_PYTHON)
    ]
    parts += [
        {
            "type": "file",
            "bom-ref": f"layer:{layer.digest}",
            "name": f"layer {layer.name}",
            "hashes": [_hash(layer.digest)],
        }
        for layer in layers
    ]
    if artifact := labels.get("mlg.artifact"):
        parts.append(
            {
                "type": "machine-learning-model",
                "bom-ref": labels.get("mlg.model_version", f"model:{artifact}"),
                "name": labels.get("mlg.model", "model"),
                "version": artifact[:12],
                # a folder's digest, which no file has: it is no hash of the component
                "properties": _properties({"mlg.artifact": artifact}),
            }
        )
    return parts


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _properties(found: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(found.items())]
