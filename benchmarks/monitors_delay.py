"""Part `delay` of `mlg bench monitors`: not built yet."""  # noqa: INP001 - a script, no package

import argparse

from monitors_rows import Report


def delay(asked: argparse.Namespace) -> Report:
    """Say so."""
    del asked
    report = Report()
    report.bar("delay", None, "not built yet")
    return report
