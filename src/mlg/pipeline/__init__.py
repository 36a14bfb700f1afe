"""Manifest steps become tables: contracts, snapshots, digests of code, the leak test."""
