"""Programs that learn to play; each talks to the platform by gRPC alone."""
