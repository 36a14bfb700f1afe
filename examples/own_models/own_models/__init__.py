"""Recommenders of one's own: three ways to write the same protocol."""
