"""The capacity model: requests, processor time and storage for a number of active users."""
