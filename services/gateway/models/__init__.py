"""The tables of the gateway."""
