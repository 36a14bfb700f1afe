"""The live page: one document of our own origin, put together from its files.

The server puts no value into the page; everything shown is fetched and set as text by the
script, so a name with markup in it stays a name.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

_POLICY: Final = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SCRIPTS: Final = ("dom.js", "views.js", "experiments.js", "page.js")
"""The parts of the page's script, in order."""


@cache
def live_page() -> tuple[bytes, str]:
    """Return the page and its content security policy, which names the digest of each part."""
    folder = files("mlg.api") / "static"
    html = (folder / "page.html").read_text("utf-8")
    style = (folder / "page.css").read_text("utf-8")
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    content = html.replace("/*style*/", style, 1).replace("/*script*/", script, 1)
    policy = _POLICY.format(script=_source(script), style=_source(style))
    return content.encode(), policy


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
