"""The load generator: virtual users, their requests and the counts of them."""
