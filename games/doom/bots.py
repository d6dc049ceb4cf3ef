"""Built-in opponents: players of the engine's own, who join a deathmatch of one process.

Their description is a file of the engine's (https://zdoom.org/wiki/Bots); their health, which the
engine does not let them choose, is that of a class of players of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from games.doom.wad import Lump, write_wad

if TYPE_CHECKING:
    from pathlib import Path

    from games.doom.engine import Engine

NAMES = (
    *("Anvil", "Bishop", "Cobalt", "Dagger", "Ember", "Falcon", "Granite", "Hornet"),
    *("Indigo", "Jackal", "Kestrel", "Lancer", "Mantis", "Nomad", "Onyx"),
)
"""Who joins, in this order."""

# The engine hears a command in the first, and tells who is there after the second.
_LEAVING_TICS = 2

_COLORS = ("40 cf 00", "b0 b0 b0", "8f 00 00", "ff af 3f", "00 00 ff", "ff ff 00", "bf 00 bf")
# Everything else a bot player is that of Doom's own, whom the engine calls Marine.
_CLASS = """\
actor BotPlayer : DoomPlayer
{
  Health %d
  Player.DisplayName "Bot"
}
"""
_ENTRY = """\
{
  name %s
  aiming %d
  perfection %d
  reaction %d
  isp %d
  color "%s"
  playerclass Bot
}
"""


@dataclass(frozen=True)
class Bots:
    """How many opponents join, how good they are, and the health that each life begins with.

    `count` is in [1, 15]. `skill`, in [0, 100], is how well they aim, turn, react and look after
    themselves. `health` is in [1, 200]; the player begins with 100.
    """

    count: int
    skill: int = 50
    health: int = 100

    def __post_init__(self) -> None:
        """Raise ValueError, naming field and range, for a number outside of its range."""
        for field, least, most in (
            ("count", 1, len(NAMES)),
            ("skill", 0, 100),
            ("health", 1, 200),
        ):
            value = getattr(self, field)
            if not least <= value <= most:
                raise ValueError(f"bots.{field} is {value}; it must be in [{least}, {most}]")

    @property
    def names(self) -> tuple[str, ...]:
        """Who joins."""
        return NAMES[: self.count]

    def write(self, directory: Path) -> str:
        """Describe them in files in `directory`; answers what an engine there has to be told."""
        described = directory / "bots.cfg"
        entries = [
            _ENTRY % (name, *[self.skill] * 4, _COLORS[index % len(_COLORS)])
            for index, name in enumerate(self.names)
        ]
        described.write_text("".join(entries))
        players = directory / "bots.wad"
        write_wad(
            players,
            [
                Lump("DECORATE", (_CLASS % self.health).encode("ascii")),
                Lump("KEYCONF", b"addplayerclass BotPlayer nomenu\n"),
            ],
        )
        # With two classes to choose from, the player has to say that he wants the usual one.
        return f"-file {players.name} +playerclass Marine +viz_bots_path {described.name}"

    def leave(self, engine: Engine) -> None:
        """Bring the engine where the next episode is seeded: out of a game of several players.

        In such a game ViZDoom changes maps, with all players, their counts and the random numbers
        as they are; in a game of one it begins anew.
        """
        timeout = engine.get_episode_timeout()
        engine.set_episode_timeout(0)
        engine.send_game_command(f"map {engine.get_doom_map()}")
        engine.advance_action(_LEAVING_TICS)
        engine.set_episode_timeout(timeout)

    def join(self, engine: Engine) -> None:
        """Let everybody join, which takes a tic."""
        for name in self.names:
            engine.send_game_command(f"addbot {name}")
        engine.advance_action(1)
        # Some maps let a player appear where another stands, who is dead then.
        if engine.is_player_dead():
            engine.respawn_player()
