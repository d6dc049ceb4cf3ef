"""A filter of system calls that a process puts on itself: what no agent needs is refused.

Everything that would reach beyond the sandbox or take memory that no limit counts fails with
EPERM, as does a socket that is no Unix socket. `clone3` fails with ENOSYS, so that the C library
takes `clone`, whose flags a filter can read. Calls by the conventions of another architecture kill.

Numbers are those of Linux' asm/unistd.h, the layout of instructions that of linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000
_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
# Offsets in what a filter sees of a call: number, architecture, first argument (its low half).
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16

# From here on, numbers are of the x32 convention.
_X32 = 0x40000000
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NEW_NAMESPACES = 0x7E020000

# Numbers that are the same on both.
_REFUSED = {
    # The asynchronous calls of io_uring, which no filter sees.
    *(425, 426, 427),
    # open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, statmount,
    # listmount, open_tree_attr
    *(428, 429, 430, 431, 432, 433, 442, 457, 458, 467),
    # pidfd_getfd, process_madvise, quotactl_fd, process_mrelease, set_mempolicy_home_node
    *(438, 440, 443, 448, 450),
    # memfd_secret
    447,
}


@dataclass(frozen=True)
class _Machine:
    architecture: int
    clone: int
    clone3: int
    sockets: tuple[int, int]
    refused: frozenset[int]


_MACHINES = {
    "x86_64": _Machine(
        architecture=0xC000003E,
        clone=56,
        clone3=435,
        sockets=(41, 53),
        refused=frozenset(
            _REFUSED
            | {
                # ptrace, process_vm_readv, process_vm_writev, kcmp, personality
                *(101, 310, 311, 312, 135),
                # add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd
                *(248, 249, 250, 321, 298, 323),
                # unshare, setns, mount, umount2, pivot_root, chroot
                *(272, 308, 165, 166, 155, 161),
                # Memory that no limit of a process counts: memfd_create, shmget, shmat, semget,
                # msgget, mq_open
                *(319, 29, 30, 64, 68, 240),
                # sched_setaffinity, mbind, set_mempolicy, migrate_pages, move_pages
                *(203, 237, 238, 256, 279),
                # kexec_load, kexec_file_load, init_module, finit_module, delete_module, reboot
                *(246, 320, 175, 313, 176, 169),
                # swapon, swapoff, acct, syslog, settimeofday, clock_settime, clock_adjtime,
                # adjtimex, quotactl, sethostname, setdomainname, vhangup
                *(167, 168, 163, 103, 164, 227, 305, 159, 179, 170, 171, 153),
                # name_to_handle_at, open_by_handle_at, fanotify_init, lookup_dcookie
                *(303, 304, 300, 212),
                # iopl, ioperm, modify_ldt, uselib, ustat, sysfs, nfsservctl
                *(172, 173, 154, 134, 136, 139, 180),
            }
        ),
    ),
    "aarch64": _Machine(
        architecture=0xC00000B7,
        clone=220,
        clone3=435,
        sockets=(198, 199),
        # In the order of above.
        refused=frozenset(
            _REFUSED
            | {
                *(117, 270, 271, 272, 92),
                *(217, 218, 219, 280, 241, 282),
                *(97, 268, 40, 39, 41, 51),
                *(279, 194, 196, 190, 186, 180),
                *(122, 235, 237, 238, 239),
                *(104, 294, 105, 273, 106, 142),
                *(224, 225, 89, 116, 170, 112, 266, 171, 60, 161, 162, 58),
                *(264, 265, 262, 18),
                42,
            }
        ),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install() -> None:
    """Filter the calls of this process and of all that it starts; nothing takes it off again.

    Raises OSError where the kernel knows no filters, or this machine no filter of ours.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"there is no filter of system calls for {platform.machine()}")
    code = _assemble(machine)
    program = _Program(len(code) // 8, code)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def prctl(option: int, argument: int, pointer: int = 0) -> None:
    """Ask the kernel for a property of this process; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_ulong(value) for value in (argument, pointer, 0, 0))
    if libc.prctl(ctypes.c_int(option), *arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def _assemble(machine: _Machine) -> bytes:
    """Make the filter; a jump of (a, b) skips a instructions if its condition holds, else b."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, machine.architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_JUMP_EQUAL, machine.clone3, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for number in sorted(machine.refused):
        code += [_instruction(_JUMP_EQUAL, number, 0, 1), refuse]
    code += [
        _instruction(_JUMP_EQUAL, machine.clone, 0, 3),
        _instruction(_LOAD, _ARGUMENT),
        _instruction(_JUMP_ANY_BIT, _NEW_NAMESPACES, 0, 5),
        refuse,
        _instruction(_JUMP_EQUAL, machine.sockets[0], 1, 0),
        _instruction(_JUMP_EQUAL, machine.sockets[1], 0, 2),
        _instruction(_LOAD, _ARGUMENT),
        _instruction(_JUMP_EQUAL, socket.AF_UNIX, 0, 1),
        _instruction(_RETURN, _ALLOW),
        refuse,
    ]
    return b"".join(code)


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, operand)
