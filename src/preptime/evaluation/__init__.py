"""How good the answers are: metrics, segments, documents, and the report people look at.

Arrays come in, documents and one HTML file go out: nothing here reads a table, loads a bundle or predicts.
Altair and vl-convert are imported by `charts`, `day_charts` and `svg` alone.
"""
