"""Trainers in turn on one machine: how fast they step, and how soon they play well."""
