"""YAML to typed specifications, with the place of every mistake."""
