"""Board games for two seats, by the rules of PettingZoo."""

from games.board.environment import NAMES, SEAT_COUNT, BoardGame, Observation

__all__ = ["NAMES", "SEAT_COUNT", "BoardGame", "Observation"]
