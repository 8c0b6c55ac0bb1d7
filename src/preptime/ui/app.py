"""What Streamlit runs, from the top, whenever somebody looks or touches. `preptime ui` starts it (`server.py`)."""

from preptime.ui.navigation import run_app

run_app()
