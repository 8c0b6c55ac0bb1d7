"""How a day went: predictions joined with outcomes, drift, alerts, and what should follow from them."""
