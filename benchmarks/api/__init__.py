"""What the online API costs, beside servers that are built otherwise."""
