"""Programs that are measured, each in an environment of its own; they import nothing of ours."""
