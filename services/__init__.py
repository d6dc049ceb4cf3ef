"""The programs of the platform, one directory each."""
