"""The pure core of cardwatch: transactions, features, models, policy and the engine that ties them.

Nothing here knows Kafka, Redis, HTTP, files, logging or the clock: time and randomness are arguments.
"""
