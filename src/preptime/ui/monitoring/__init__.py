"""The views of the page Monitoring. They show what `preptime monitor` wrote and work nothing out."""
