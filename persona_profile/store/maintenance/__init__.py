"""Walks over the whole store: verification, statistics, rotation of keys."""
