"""The script that Streamlit runs for each page load and each interaction. `preptime ui` starts it (`server.py`)."""

from preptime.ui.navigation import run_app

run_app()
