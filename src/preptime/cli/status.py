"""How a verb may end: its exit status."""

FINE = 0
"""A lost comparison included."""
REFUSED = 1
"""The data was refused, or an alert fired."""
WRONG_USE = 2
FAULT = 3
"""Something that should hold did not, in preptime, in a bundle or on the machine."""
INTERRUPTED = 130
"""As a shell reports SIGINT."""
