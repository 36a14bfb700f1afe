"""mlg: the Model Lifecycle Graph."""
