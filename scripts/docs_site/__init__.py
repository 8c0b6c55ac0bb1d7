"""The documentation site: `python -m scripts.docs_site` builds it from the pages of the repository."""
