"""Real servers that tests start: databases, nginx, the service, providers."""
