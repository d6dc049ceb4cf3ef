"""Doom through ViZDoom: headless, seeded, one engine process a game."""
