"""Daily monitoring: predictions joined with outcomes, metrics, drift, and alerts."""
