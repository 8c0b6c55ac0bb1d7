"""One module per page. Its `page()` draws the page from results that lower layers compute.

The folder can't have the name `pages`: Streamlit runs every module in such a folder as a page, without `app.py`.
"""
