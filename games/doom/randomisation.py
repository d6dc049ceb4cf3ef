"""Episodes that differ in looks, monsters' health and heading, so that nobody learns them by heart.

The stock maps cannot do this themselves. A copy of the scenario's WAD gets a module of scripts
that reads console variables, and skills that differ in monsters' health alone; before an episode
the variables are set to what its seed draws. Whatever the scenario draws itself stays as it was.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from games.doom.script import Code, Op, Script, Trigger, assemble, push, variable
from games.doom.wad import Lump, read_wad, textures, write_wad

if TYPE_CHECKING:
    from pathlib import Path

    from games.doom.scenarios import Scenario

# Opaque in Doom II and in Freedoom; without a surface that splashes or glows, which would play.
LOOKS = (
    *("STARTAN2", "STARTAN3", "STARGR1", "BRICK1", "BRICK3", "BRICK5", "BRICK7", "BRICK10"),
    *("BROWN1", "BROWN96", "BROWNGRN", "METAL1", "METAL2", "SILVER1", "SILVER2", "SUPPORT3"),
    *("GRAY1", "GRAY5", "STONE2", "STONE3", "CEMENT2", "COMPBLUE", "TEKGREN2", "TANROCK2"),
    *("GSTONE1", "ASHWALL2", "BIGBRIK1", "BIGBRIK2", "WOOD1", "WOOD5", "ZIMMER1", "ROCKRED1"),
)
_LOOK_BITS = 5
_LOOKS_IN_NUMBER = 6

HEALTH_FACTORS = (0.2, 0.4, 0.6, 0.8, 1.0)
_SKILLS = (
    "AmmoFactor = 2\nDamageFactor = 0.5\nEasyBossBrain\nSpawnFilter = Baby",
    "EasyBossBrain\nSpawnFilter = Easy",
    "SpawnFilter = Normal",
    "SpawnFilter = Hard",
    "AmmoFactor = 2\nFastMonsters\nRespawnTime = 12\nSpawnFilter = Nightmare",
)
"""What the five skills of Doom mean to the engine (mapinfo/doomcommon.txt of ZDoom)."""

_LOOK, _HEADING = "elodrome_look", "elodrome_heading"


@dataclass(frozen=True)
class Randomisation:
    """What changes between episodes whose seed is below `seed_limit`; all others stay as they are.

    `textures` exchanges those of walls, floors and ceilings; equal ones stay equal. `health` gives
    monsters one of HEALTH_FACTORS of theirs, where the scenario does not set it. `spawn` turns
    players to a random side when they enter, where the scenario does not place them later.
    """

    seed_limit: int
    textures: bool = False
    health: bool = False
    spawn: bool = False

    def applies(self, seed: int) -> bool:
        """Tell whether the episode of `seed` is another than the scenario has it."""
        return seed < self.seed_limit and (self.textures or self.health or self.spawn)

    def commands(self, seed: int) -> list[str]:
        """Say what the console has to be told before the episode of `seed` begins."""
        draw = random.Random(seed)  # noqa: S311 - nothing secret
        look = draw.randrange(1, 2 ** (_LOOK_BITS * _LOOKS_IN_NUMBER))
        skill = draw.randrange(len(HEALTH_FACTORS))
        heading = draw.randrange(1, 2**16)
        if not self.applies(seed):
            look, skill, heading = 0, HEALTH_FACTORS.index(1.0), 0
        commands = [f"{_LOOK} {look}"] if self.textures else []
        commands += [f"skill {skill}"] if self.health else []
        commands += [f"{_HEADING} {heading}"] if self.spawn else []
        return commands


def write_variant(
    path: Path, source: Path, scenario: Scenario, randomisation: Randomisation | None
) -> None:
    """Write a copy of the scenario's WAD that can be randomised and has the scenario's loadout.

    Raises ValueError where textures are to change and no map says in UDMF which it has.
    """
    lumps = read_wad(source)
    scripts = _loadout(scenario.loadout)
    extras = []
    if randomisation and randomisation.textures:
        names = textures(lumps)
        if not names:
            raise ValueError(f"textures: {source.name} has no map in the UDMF format")
        scripts.append(Script(Trigger.OPEN, _exchange(names), condition=_LOOK))
    if randomisation and randomisation.spawn:
        turn = [*push(0), *variable(_HEADING), Op.SET_ACTOR_ANGLE]
        scripts.append(Script(Trigger.ENTER, turn, condition=_HEADING))
    if randomisation and randomisation.health:
        extras.append(Lump("MAPINFO", _skills(scenario.skill).encode("ascii")))
    variables = f"server int {_LOOK} = 0;\nserver int {_HEADING} = 0;\n"
    extras += [
        Lump("CVARINFO", variables.encode("ascii")),
        Lump("LOADACS", b"ELODROME\n"),
        Lump("A_START"),
        Lump("ELODROME", assemble(scripts, texts=LOOKS)),
        Lump("A_END"),
    ]
    write_wad(path, extras + lumps)


def _exchange(names: list[str]) -> Code:
    """Replace texture i by the one of LOOKS that five bits of the variable name."""
    code: Code = []
    for index, name in enumerate(names):
        bits = [*variable(_LOOK), *push(_LOOK_BITS * (index % _LOOKS_IN_NUMBER)), Op.RIGHT_SHIFT]
        look = [*bits, *push(len(LOOKS) - 1), Op.AND_BITS, Op.TAG_STRING]
        code += [name, *look, *push(0), Op.REPLACE_TEXTURES]
    return code


def _loadout(items: tuple[tuple[str, int], ...]) -> list[Script]:
    if not items:
        return []
    # The map's own scripts fill the pockets in the same tic, so wait for the next.
    code: Code = [Op.DELAY_DIRECT, 1, Op.CLEAR_INVENTORY]
    for name, amount in items:
        code += [name, *push(amount), Op.GIVE_INVENTORY]
    return [Script(trigger, code) for trigger in (Trigger.ENTER, Trigger.RESPAWN)]


def _skills(skill: int) -> str:
    rules = _SKILLS[skill - 1]
    entries = [
        f'skill health{index}\n{{\n{rules}\nMonsterHealth = {factor}\nName = "{factor}"\n}}'
        for index, factor in enumerate(HEALTH_FACTORS)
    ]
    return "\n".join(["clearskills", *entries, ""])
