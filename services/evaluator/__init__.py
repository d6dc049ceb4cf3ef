"""Judges agents: suites, evaluations, gates."""
