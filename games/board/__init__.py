"""Board games for two seats, by the rules of PettingZoo."""

from games.board.environment import NAMES, BoardGame, Observation

__all__ = ["NAMES", "BoardGame", "Observation"]
