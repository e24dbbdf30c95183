"""The HTTP service: cards and cases for machines under /v1, a server-rendered console for agents under /console.

`api.app.create_app` builds the application from what it is given: a desk (casework), API keys, health checks, a metrics
registry and a clock. Nothing here knows Kafka or Redis.
"""
