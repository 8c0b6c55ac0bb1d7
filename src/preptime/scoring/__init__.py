"""Batch scoring: adds predictions to every row of a file or a day, in order and in bounded memory (decision 4)."""
