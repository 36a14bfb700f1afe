"""Rankers, ranking metrics, confidence calibration; pure, numpy over arrays."""
