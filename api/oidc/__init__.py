"""Signing in at the desk by OpenID Connect: the provider, its ID tokens, and who somebody is by them."""
