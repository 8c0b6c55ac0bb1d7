"""Where orders and restaurants come from and go to: files, PostgreSQL, and BigQuery behind one interface.

`registry.open_source` opens any address. One vendor per folder: `psycopg` only in `postgres`, `google` only in `bigquery`.
"""
