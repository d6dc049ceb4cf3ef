"""The parts of an installation that every place needs: a laptop, a test, a cluster."""
