"""All that `make run` adds: an identity provider, an OpenID provider and the demo page."""
