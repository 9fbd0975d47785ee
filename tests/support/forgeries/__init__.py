"""Forged proofs, damaged items, and independent implementations as oracles."""
