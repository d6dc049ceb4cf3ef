"""The places where workers can run."""
