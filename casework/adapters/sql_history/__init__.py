"""The read model of cases in SQLite or PostgreSQL, through SQLAlchemy."""
