"""The system calls that nothing in the sandbox needs, as a filter program for the kernel.

A second line: what bubblewrap leaves out of reach already, the kernel is not even asked for.
New name spaces above all, because inside one a process is root over much untried kernel code.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["program"]

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000  # linux/seccomp.h
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* of linux/sched.h
_X32 = 0x40000000

_SAME_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 442)
"""io_uring, and the newer calls around mounts."""
_CLONE3 = 435

# unshare setns mount umount2 pivot_root chroot ptrace process_vm_readv process_vm_writev,
# keyctl add_key request_key bpf perf_event_open userfaultfd kexec_load kexec_file_load,
# init_module finit_module delete_module open_by_handle_at syslog swapon swapoff reboot,
# quotactl acct; and clone.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        (
            *(272, 308, 165, 166, 155, 161, 101, 310, 311),
            *(250, 248, 249, 321, 298, 323, 246, 320),
            *(175, 313, 176, 304, 103, 167, 168, 169),
            *(179, 163),
        ),
        56,
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(97, 268, 40, 39, 41, 51, 117, 270, 271),
            *(219, 217, 218, 280, 241, 282, 104, 294),
            *(105, 273, 106, 265, 116, 224, 225, 142),
            *(60, 89),
        ),
        220,
    ),
}


def program(machine: str = platform.machine()) -> bytes | None:
    """The filter for this kind of machine; None where we know no numbers."""
    if machine not in _MACHINES:
        return None
    architecture, numbers, clone = _MACHINES[machine]
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":  # the same calls under other numbers
        code += [(_AT_LEAST, 0, 1, _X32), refuse]
    for number in (*numbers, *_SAME_EVERYWHERE):
        code += [(_EQUAL, 0, 1, number), refuse]
    # clone3 hides its flags behind a pointer: libraries fall back to clone when it is not there.
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code += [
        (_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *one) for one in code)
