"""The views of the page Data. What they show is counted in `preptime.exploration`."""
