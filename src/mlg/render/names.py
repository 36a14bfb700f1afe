"""Names, labels and quantities as Kubernetes takes them."""

import hashlib
import math
import re
from typing import Final

LONGEST: Final = 63
"""Characters of a DNS label (RFC 1035), and of a label's value."""

_PLAIN: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HASH: Final = 8


def dns_label(*parts: str, longest: int = LONGEST) -> str:
    """Return the DNS label of a thing that is named by parts, the first one a letter first.

    Lower-case parts of letters, digits and single hyphens are joined as they are. What must be
    changed or cut ends in eight digits of the parts' sha256, so that two things that
    look alike afterwards keep two names; so does a third part with a hyphen, as it could
    be the end of the second.

    Args:
        parts: Names from the outer to the inner one, for example project, service, version.
        longest: Characters at most; at least 10.

    Raises:
        ValueError: The first part does not begin with a letter.

    Source:
        RFC 1035, 2.3.1; Kubernetes, "Object Names and IDs".

    Examples:
        >>> dns_label("movies", "home", "3f2a90c1d2e4")
        'movies-home-3f2a90c1d2e4'
        >>> dns_label("movies", "Home_page")
        'movies-home-page-17cc6752'
    """
    if not re.match(r"[A-Za-z]", parts[0]):
        raise ValueError(f"expected a name that begins with a letter, got {parts[0]!r}")
    text = "-".join(_slug(part) for part in parts if _slug(part))
    whole = all(_PLAIN.fullmatch(part) for part in parts) and len(text) <= longest
    if whole and not any("-" in part for part in parts[2:]):
        return text
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_HASH]
    return f"{text[: longest - _HASH - 1].rstrip('-')}-{digest}"


def label_value(text: str) -> str:
    """Return a label's value for any text; what must be changed ends in a hash.

    Examples:
        >>> label_value("3f2a90c1d2e4")
        '3f2a90c1d2e4'
    """
    if _PLAIN.fullmatch(text) and len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    return f"{_slug(text)[: LONGEST - _HASH - 1].rstrip('-')}-{digest}".lstrip("-")


def cpu_quantity(cores: float) -> str:
    """Return processor cores as a quantity of whole thousandths, rounded up.

    Examples:
        >>> cpu_quantity(1), cpu_quantity(0.25), cpu_quantity(1.0001)
        ('1', '250m', '1001m')
    """
    thousandths = max(1, math.ceil(round(cores * 1_000, 6)))
    return str(thousandths // 1_000) if thousandths % 1_000 == 0 else f"{thousandths}m"


def bytes_quantity(size_bytes: int) -> str:
    """Return bytes as a quantity, in the largest binary unit that holds them whole.

    Examples:
        >>> bytes_quantity(2**30), bytes_quantity(1_500)
        ('1Gi', '1500')
    """
    for power, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return str(size_bytes)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
