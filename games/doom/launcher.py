"""The script that runs an engine process: tied to whoever plays, with words when it fails.

ViZDoom's controller (1.3.2) starts a program and waits for its first message. It cannot bear that
the program ends before: it follows a null pointer and takes the whole Python process along. And an
engine neither notices that its controller was killed nor cleans up behind it. So the controller is
given this script instead of the engine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from string import Template
from typing import TYPE_CHECKING

import vizdoom

from games.doom.wad import Lump, write_wad

if TYPE_CHECKING:
    from pathlib import Path

LOBBY = "LOBBY"
"""Map to start in: what cannot be loaded later is then an error, where at the start it is a crash.

A controller that has had its first message passes the engine's own words on.
"""

# Far more than any map needs; a broken one can ask for all there is.
_MEMORY_LIMIT_KIB = 4 * 1024 * 1024

# $$PPID is read when the shell starts, so after the tie: whoever was killed before that is noticed.
_SCRIPT = Template("""\
#!/bin/sh
$tie
exec 2>/dev/null
cd $directory || exit 1
for argument do
  [ "$$last" != +viz_instance_id ] || instance=$$argument
  last=$$argument
done
leave() {
  kill -KILL $$engine
  rm -rf $directory /dev/shm/ViZDoom*"$${instance:-none}"
  exit
}
trap leave USR1
# A signal to the whole group is for the controller to answer, which may still want to play.
trap '' TERM INT
[ $$PPID = $controller ] || leave
ulimit -v $memory

$run_tied $program "$$@" >>log 2>&1 &
engine=$$!
echo $$engine >pid
wait $$engine
status=$$?
echo $$status >status
# Only one of two can make it: the controller once it was answered, or this script before.
mkdir ready 2>/dev/null || exit $$status

# Nobody answered. Let a lobby for one do it, so that the controller lives to read why.
for argument do
  shift
  case $$argument in
    -file | -host | -join | -port | +map) drop=next ;;
    *) [ -n "$$drop" ] && drop= || set -- "$$@" "$$argument" ;;
  esac
done
$run_tied $program "$$@" -file lobby.wad +map $lobby >/dev/null 2>&1 &
engine=$$!
wait $$engine
""")

_LOBBY_MAP = """\
namespace = "zdoom";
vertex { x = 0; y = 0; }
vertex { x = 0; y = 256; }
vertex { x = 256; y = 256; }
vertex { x = 256; y = 0; }
linedef { v1 = 0; v2 = 1; sidefront = 0; blocking = true; }
linedef { v1 = 1; v2 = 2; sidefront = 1; blocking = true; }
linedef { v1 = 2; v2 = 3; sidefront = 2; blocking = true; }
linedef { v1 = 3; v2 = 0; sidefront = 3; blocking = true; }
sidedef { sector = 0; texturemiddle = "STARTAN2"; }
sidedef { sector = 0; texturemiddle = "STARTAN2"; }
sidedef { sector = 0; texturemiddle = "STARTAN2"; }
sidedef { sector = 0; texturemiddle = "STARTAN2"; }
sector { heightceiling = 128; texturefloor = "FLOOR0_1"; textureceiling = "CEIL1_1"; }
thing { x = 128; y = 128; type = 1; skill1 = true; skill2 = true; skill3 = true; skill4 = true;
  skill5 = true; single = true; coop = true; dm = true; }
thing { x = 128; y = 128; type = 11; skill1 = true; skill2 = true; skill3 = true; skill4 = true;
  skill5 = true; single = true; coop = true; dm = true; }
"""


def write_launcher(directory: Path) -> Path:
    """Write the script, which is for this process alone, and the lobby into `directory`.

    The engine runs in `directory`, which it litters, and dies with the thread that started it:
    ViZDoom keeps that thread until the game closes. Where the thread is gone, the engine, its
    shared memory and `directory` soon are. The script leaves there `log`, what the engine said;
    `pid`, its number; `status`, how it ended, as a shell tells it; and `ready`, a directory that
    the controller makes when it was answered, and the script when it never was. Without setpriv
    (not Linux) nothing is tied.
    """
    write_wad(
        directory / "lobby.wad",
        [Lump(LOBBY), Lump("TEXTMAP", _LOBBY_MAP.encode("ascii")), Lump("ENDMAP")],
    )
    setpriv = shutil.which("setpriv")
    tie, run_tied = "", ""
    if setpriv:
        tie = f'[ "$1" = tied ] || exec {setpriv} --pdeathsig USR1 -- /bin/sh "$0" tied "$@"; shift'
        alone = "'[ $PPID = $0 ] && exec \"$@\"' $$"
        run_tied = f"{setpriv} --pdeathsig KILL -- /bin/sh -c {alone}"
    script = directory / "engine"
    text = _SCRIPT.substitute(
        tie=tie,
        run_tied=run_tied,
        directory=shlex.quote(str(directory)),
        program=shlex.quote(vizdoom.exe_path),
        controller=os.getpid(),
        memory=_MEMORY_LIMIT_KIB,
        lobby=LOBBY,
    )
    _write_program(script, text)
    return script


def _write_program(path: Path, text: str) -> None:
    """Write what is to be executed, by way of a process that has no threads.

    What somebody holds open for writing cannot be executed (execve(2), ETXTBSY). Where this process
    wrote it, a child that another thread forks at that moment would, until it executes something.
    """
    install = ["install", "-m", "700", "/dev/stdin", path]
    subprocess.run(install, input=text.encode(), check=True)  # noqa: S603 - our own text
