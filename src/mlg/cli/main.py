"""The `mlg` command."""


def main() -> None:
    """Run the command line."""
