"""Measurements of a whole install: each prints rows of a table, all together write one JSON."""
