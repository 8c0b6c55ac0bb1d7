"""Where orders and restaurants are read from, and where results are written to.

`registry.open_source` opens any address: files, PostgreSQL, or BigQuery, behind the interface `source.DataSource`.

Rules of this folder: one vendor has one folder (`psycopg` is imported only in `postgres`, `google` only in `bigquery`),
and the parts that all databases share are in `database`. To check rows, use `preptime.validation`.
"""
