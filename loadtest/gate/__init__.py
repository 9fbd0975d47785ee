"""The verdict over a run of the load test, and its report."""
