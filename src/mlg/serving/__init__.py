"""The data plane: rank, score confidence, fall back, log."""
