"""The load test: how many active users a build carries; `model` tells how many it should."""
