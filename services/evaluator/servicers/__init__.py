"""What the evaluator answers."""
