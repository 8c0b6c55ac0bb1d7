"""What Streamlit runs, from the top, whenever somebody looks or touches. `preptime ui` starts it (`preptime.ui.server`)."""

from preptime.ui.shell import show

show()
