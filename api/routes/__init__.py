"""The routes of /v1 and those apart from it."""
