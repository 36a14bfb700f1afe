"""Composition roots, one module a process: the only places that pick backends."""
