"""The registry's tables, and the rules that their rows keep."""
