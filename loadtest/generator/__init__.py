"""The load generator: virtual users, their requests and what is counted."""
