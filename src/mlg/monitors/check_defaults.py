"""What a check of tables takes where nobody says otherwise; the command line reads it too."""

from typing import Final

ALPHA: Final = 0.001
"""Chance that a check of clean tables names any column at all."""

WINDOWS: Final = 200
LEAST_ROWS: Final = 200
"""Rows of a window at least: fewer make fewer windows."""
