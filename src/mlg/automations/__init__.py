"""Trigger, condition, action rules (built in a later issue)."""
