"""The `elodrome` command line."""
