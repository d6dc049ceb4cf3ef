"""The gateway's own RPCs, one module per proto service."""
