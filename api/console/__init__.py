"""The agents' console: server-rendered pages that work without scripts."""
