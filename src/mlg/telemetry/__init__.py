"""Names of metrics, logging, trace ids."""
