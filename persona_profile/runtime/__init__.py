"""Processes, signals, heartbeat, logs, metrics. Empty: supervisor and workers import little."""
