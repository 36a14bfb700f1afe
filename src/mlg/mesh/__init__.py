"""A service and its split as gateway resources, as pure data."""
