"""One module a page, each with `page()`, which draws it. A page shows; what it shows is worked out below `ui`."""
