"""Part `pages` of `mlg bench monitors`: not built yet."""  # noqa: INP001 - a script, no package

import argparse

from monitors_rows import Report


def pages(asked: argparse.Namespace) -> Report:
    """Say so."""
    del asked
    report = Report()
    report.bar("pages", None, "not built yet")
    return report
