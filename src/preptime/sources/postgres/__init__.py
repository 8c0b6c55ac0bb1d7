"""Tables in PostgreSQL: orders by local day, restaurants, predictions, outcomes. Only this folder imports `psycopg`.

Everything lies in the schema `preptime`, which the numbered files in `migrations/` make and which `preptime ingest`
applies. What a database keeps of an order, whichever database, is declared in `preptime.sources.database_schema`.
"""
