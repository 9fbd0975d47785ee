"""Where the items of an email are kept, and how they open. Empty: workers import little.

Every access to the store raises `Unavailable` if the storage does not answer. Every use of a data key
raises `KeysUnavailable` if the key service does not answer.
"""
