"""The dataset schema: how a company's files describe orders, and its custom features (decision 17).

Rule: a schema describes data and runs no code. Modules here read no orders, except `inference`, which reads a sample.
A bundle contains the schema that it was trained with.
"""
