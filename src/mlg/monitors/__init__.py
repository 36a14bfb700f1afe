"""Baselines, windows, verdicts and alerts (built in a later issue)."""
