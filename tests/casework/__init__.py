"""Casework, without a server: pure parts, and the desk on the memory store."""
