"""Keyring, key wrapping, sealed records, tokens and Vault. Empty: workers import little."""
