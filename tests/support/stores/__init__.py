"""Stores under test: sealed items, steps of work, state machines."""
