"""Bundles that must be rejected, with the code of the reason, and bundles that must be accepted."""
