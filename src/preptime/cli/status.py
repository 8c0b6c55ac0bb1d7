"""How a verb may end: its exit status."""

SUCCESS = 0
"""A lost comparison included."""
REFUSED_OR_ALERT = 1
"""The data was refused, or an alert fired."""
USAGE_ERROR = 2
FAILURE = 3
"""Something that should hold did not, in preptime, in a bundle or on the machine."""
INTERRUPTED = 130
"""As a shell reports SIGINT."""
