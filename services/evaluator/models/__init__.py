"""What the evaluator keeps."""
