"""The HTTP API of the control plane and its event stream."""
