"""Control charts, sequential tests and intervals; pure."""
