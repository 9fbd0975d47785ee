"""Parts of a development server: an identity provider, an OpenID provider and the demo page."""
