"""Tables in BigQuery: orders by local day, restaurants, predictions, outcomes. Only this folder imports `google`.

Not yet run against the cloud: docs/databases.md says what the tests hold it to instead. What a database keeps of an
order is declared in `preptime.sources.database_schema`, for every kind.
"""
