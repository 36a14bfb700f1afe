"""Every driver of a port; each is imported by its module."""
