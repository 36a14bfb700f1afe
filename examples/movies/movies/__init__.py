"""Feature code of the movies example."""
