"""One servicer for each service of the registry's contract."""
