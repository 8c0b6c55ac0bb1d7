"""The views of the page Data. `preptime.exploration` computes what they show."""
