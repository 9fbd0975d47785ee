"""Bundles that must be refused, each with the code of the reason, and those that must not."""
