"""The load test: how many active users a build carries."""
