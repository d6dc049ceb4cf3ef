"""People playing live against promoted agents."""
