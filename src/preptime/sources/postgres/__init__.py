"""PostgreSQL: orders by local day, restaurants, predictions, and outcomes.

Rule of this folder: only it imports `psycopg`.

All tables are in the schema `preptime`. The numbered files in `migrations/` create them, and `preptime ingest` applies
these files. The stored columns are declared in `preptime.sources.database_schema`, for every database.
"""
