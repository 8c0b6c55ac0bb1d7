"""The web page (Streamlit). Takes no decision: it asks the API, or the package, and shows what they say."""
