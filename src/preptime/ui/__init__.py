"""The dashboard (Streamlit). It makes no decisions: it calls the API or the package and shows the results."""
