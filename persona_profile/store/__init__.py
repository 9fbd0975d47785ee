"""Where the items of an email are kept, and how they open. Empty: workers import little."""
