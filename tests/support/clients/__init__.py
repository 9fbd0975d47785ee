"""Callers of the service, and checks of its responses, logs and metrics."""
