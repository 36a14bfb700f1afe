"""`python -m mlg` is the `mlg` command."""

from mlg.cli.main import main

main()
