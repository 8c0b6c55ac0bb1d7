"""Validation of orders and restaurants.

The audit gives every row its validation reasons. The data gate decides whether a model can be trained on the data.

Rule of this folder: it works on frames. To read or write files and databases, use `preptime.sources`.
"""
