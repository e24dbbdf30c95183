"""Lua scripts that Redis runs."""
