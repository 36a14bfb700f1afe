"""The Python client of the control API."""
