"""Score, count histories, and prepare training data with Apache Spark (docs/scale.md)."""
