"""One module per page. Its `page()` draws the page from results that lower layers compute."""
