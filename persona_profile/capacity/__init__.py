"""The capacity model on paper."""
