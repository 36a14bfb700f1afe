"""Byte code of modules in a form that is the same each time."""

import importlib.util
import marshal
import sys
import warnings
from pathlib import PurePosixPath


def bytecode_of(path: str, text: bytes) -> tuple[str, bytes] | None:
    """Return path and content of a module's byte code; None where it is no module here.

    Format 2 of marshal knows no references, whose place depends on who else holds an object;
    the header has the source's hash in place of its time, and is not compared (PEP 552).

    Args:
        path: Of the module, from the image's root.
        text: Its source.

    Examples:
        >>> bytecode_of("lib/a.py", b"x = 1")[0].startswith("lib/__pycache__/a.")
        True
        >>> bytecode_of("lib/a.py", b"x =") is None
        True
    """
    at = PurePosixPath(path)
    if at.suffix != ".py":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(text, f"/{path}", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None  # a template, or for another Python
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    name = f"{at.parent}/__pycache__/{at.stem}.{sys.implementation.cache_tag}.pyc"
    return name, head + importlib.util.source_hash(text) + marshal.dumps(code, 2)
