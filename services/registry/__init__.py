"""Models, versions and their promotion; checkpoints and the files behind them; games and maps."""
