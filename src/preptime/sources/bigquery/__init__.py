"""BigQuery: orders by local day, restaurants, predictions, and outcomes.

Rule of this folder: only it imports `google`.

It hasn't been run against the cloud yet. For what the tests check instead, see docs/databases.md. The stored columns
are declared in `preptime.sources.database_schema`, for every database.
"""
