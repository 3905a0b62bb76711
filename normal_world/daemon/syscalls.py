"""The host system calls the daemon may make once it runs, each with the reason: data for the seccomp filter.

Everything else fails with EPERM, but for `FATAL`, where asking is proof enough that the process is no longer
ours. docs/daemon.md lists the same; a test compares. Names are Linux's; one that an architecture does not have
(aarch64 has no `open`) is no rule there.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import termios

from south.linux_host.seccomp import OWN_PID, Condition, Rule

CLONE_THREAD = 0x00010000
"""linux/sched.h"""
CLONE_NAMESPACES = 0x7E020000
"""CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWNS (linux/sched.h)"""
PR_SET_NAME = 15
"""linux/prctl.h"""
FIOCLEX, FIONCLEX = 0x5451, 0x5450
"""asm-generic/ioctls.h"""
IP_RECVERR, IPV6_RECVERR = 11, 25
"""linux/in.h, linux/in6.h"""
_INT = 0xFFFFFFFF


def _one_of(argument: int, *values: int) -> tuple[tuple[Condition, ...], ...]:
    """An `int` argument: the kernel reads 32 bits, whatever the caller left above them."""
    return tuple((Condition(argument, value, _INT),) for value in values)


def _opening(flags: int) -> tuple[tuple[Condition, ...], ...]:
    """O_TRUNC only to write, which Landlock sees: before its ABI 3 a file that is opened to read, or for its ioctls
    alone (both bits of the access mode), could be emptied.
    """
    return (
        (Condition(flags, 0, os.O_TRUNC),),
        (Condition(flags, os.O_WRONLY, os.O_ACCMODE),),
        (Condition(flags, os.O_RDWR, os.O_ACCMODE),),
    )


_MEMORY = "memory of Python, of TA instances and of the emulator's translated code"
_THREADS = "threads: one a call, and the engine's watchdog"
_LOCKS = "locks between threads"
_CLIENTS = "frames and memory objects from and to clients"
_WAIT = "waiting for clients, with deadlines"
_LOAD = "files of TAs, of Python's modules loaded late, and of trusted storage"
_STORE = "trusted storage: whole old or whole new versions"
_TIME = "clocks: deadlines and TAs' time"
_SIGNALS = "signals: stop, and Python's own handling of them"
_WHO = "who we are: ownership checks and messages"
_EXIT = "the end of threads and of the process"
_SCHEDULE = "number of processors, and giving one up while spinning"
_CONTROL = "descriptors: closing and duplicating"

ALLOWED: dict[str, Rule] = {
    "accept4": Rule("new clients"),
    "accept": Rule("new clients, where libc has no accept4"),
    "brk": Rule(_MEMORY),
    "clock_getres": Rule(_TIME),
    "clock_gettime": Rule(_TIME),
    "clock_nanosleep": Rule("TAs that wait (TEE_Wait), and pauses between polls"),
    # clone3 hides its flags in memory, where a filter cannot look: see NO_SUCH_CALL.
    "clone": Rule(_THREADS, ((Condition(0, CLONE_THREAD, CLONE_THREAD | CLONE_NAMESPACES),),)),
    "close": Rule(_CONTROL),
    "dup": Rule(_CONTROL),
    "epoll_create1": Rule(_WAIT),
    "epoll_ctl": Rule(_WAIT),
    "epoll_pwait": Rule(_WAIT),
    "epoll_wait": Rule(_WAIT),
    "eventfd2": Rule("waking a thread that waits for clients"),
    "exit": Rule(_EXIT),
    "exit_group": Rule(_EXIT),
    "faccessat": Rule(_LOAD),
    "faccessat2": Rule(_LOAD),
    "access": Rule(_LOAD),
    "fallocate": Rule(_STORE),
    # No F_SETOWN, F_SETSIG, F_NOTIFY and F_SETLEASE, nor O_ASYNC: they send signals to any process of the same user.
    "fcntl": Rule(
        "close-on-exec, blocking mode, duplicates and seals of descriptors",
        (
            *_one_of(1, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_DUPFD_CLOEXEC),
            *_one_of(1, fcntl.F_ADD_SEALS, fcntl.F_GET_SEALS),
            (Condition(1, fcntl.F_SETFL, _INT), Condition(2, 0, os.O_ASYNC)),
        ),
    ),
    "fdatasync": Rule(_STORE),
    "flock": Rule("one process alone in a state folder"),
    "fstat": Rule(_LOAD),
    "fstatfs": Rule(_LOAD),
    "fsync": Rule(_STORE),
    "ftruncate": Rule("sizes of memory objects and of files in trusted storage"),
    "futex": Rule(_LOCKS),
    "get_robust_list": Rule(_THREADS),
    "getcwd": Rule("paths relative to the working folder"),
    "getdents64": Rule("listing folders of TAs, modules and trusted storage"),
    "getegid": Rule(_WHO),
    "geteuid": Rule(_WHO),
    "getgid": Rule(_WHO),
    "getpeername": Rule(_CLIENTS),
    "getpid": Rule(_WHO),
    "getrandom": Rule("entropy for keys, TAs' random numbers and address layouts"),
    "getrusage": Rule("how much processor time and memory the daemon used"),
    "getsockname": Rule(_CLIENTS),
    "getsockopt": Rule("who a client is: SO_PEERCRED, SO_PEERGROUPS"),
    "gettid": Rule(_THREADS),
    "gettimeofday": Rule(_TIME),
    "getuid": Rule(_WHO),
    "ioctl": Rule(
        "whether a file is a terminal; blocking mode and close-on-exec of descriptors",
        _one_of(1, termios.TCGETS, termios.FIONBIO, termios.FIONREAD, FIOCLEX, FIONCLEX),
    ),
    "kill": Rule("to ourselves: a signal that ends the process", _one_of(0, OWN_PID)),
    "lseek": Rule(_LOAD),
    "lstat": Rule(_LOAD),
    "madvise": Rule(_MEMORY),
    "membarrier": Rule(_LOCKS),
    "memfd_create": Rule("shared memory objects that clients are given"),
    "mkdir": Rule(_STORE),
    "mkdirat": Rule(_STORE),
    "mmap": Rule(_MEMORY),
    "mprotect": Rule(_MEMORY),
    "mremap": Rule(_MEMORY),
    "munmap": Rule(_MEMORY),
    "nanosleep": Rule("pauses between polls"),
    "newfstatat": Rule(_LOAD),
    "open": Rule(_LOAD, _opening(1)),
    "openat": Rule(_LOAD, _opening(2)),
    "pidfd_open": Rule("a client's process by a number that is never another's: whether it is still there"),
    "pipe2": Rule("waking a thread that waits; signals for the watchdog"),
    "poll": Rule(_WAIT),
    "ppoll": Rule(_WAIT),
    "prctl": Rule("names of threads", _one_of(0, PR_SET_NAME)),
    "pread64": Rule(_LOAD),
    "prlimit64": Rule(
        "reading our limits; raising that of open files as far as it may be",
        ((Condition(0, 0), Condition(2, 0)), (Condition(0, 0), Condition(1, resource.RLIMIT_NOFILE))),
    ),
    "pselect6": Rule(_WAIT),
    "pwrite64": Rule(_STORE),
    "read": Rule(_LOAD),
    "readlink": Rule("real paths of modules and files"),
    "readlinkat": Rule("real paths of modules and files"),
    "readv": Rule(_LOAD),
    "recvfrom": Rule(_CLIENTS),
    "recvmsg": Rule(_CLIENTS),
    "rename": Rule(_STORE),
    "renameat": Rule(_STORE),
    "renameat2": Rule(_STORE),
    "restart_syscall": Rule("waits that a signal interrupted"),
    "rmdir": Rule(_STORE),
    "rseq": Rule(_THREADS),
    "rt_sigaction": Rule(_SIGNALS),
    "rt_sigprocmask": Rule(_SIGNALS),
    "rt_sigreturn": Rule(_SIGNALS),
    "sched_getaffinity": Rule(_SCHEDULE),
    "sched_yield": Rule(_SCHEDULE),
    "select": Rule(_WAIT),
    "sendmsg": Rule(_CLIENTS),
    # Without an address: to who is connected, and nobody else.
    "sendto": Rule("frames to clients; word to the service manager", ((Condition(4, 0),),)),
    "set_robust_list": Rule(_THREADS),
    "shutdown": Rule("hanging up on a client"),
    "sigaltstack": Rule(_THREADS),
    "stat": Rule(_LOAD),
    "statx": Rule(_LOAD),
    "tgkill": Rule("to our own threads: abort, and waking one that blocks", _one_of(0, OWN_PID)),
    "time": Rule(_TIME),
    "uname": Rule("the platform's name in messages"),
    "unlink": Rule("trusted storage: old versions; the daemon's own socket at its end"),
    "unlinkat": Rule("trusted storage: old versions"),
    "write": Rule(_STORE),
    "writev": Rule(_STORE),
}
"""Always."""

_NET = (socket.AF_INET, socket.AF_INET6)

SOCKETS: dict[str, Rule] = {
    "bind": Rule("GP TEE Sockets: the local end"),
    "connect": Rule("GP TEE Sockets; the resolver"),
    "recvmmsg": Rule("the resolver"),
    "sendmmsg": Rule("the resolver"),
    "sendto": Rule("GP TEE Sockets; the resolver"),
    "setsockopt": Rule(
        "buffers of TAs' sockets; the resolver",
        tuple(
            (Condition(1, level, _INT), Condition(2, option, _INT))
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_RCVBUF),
                (socket.SOL_SOCKET, socket.SO_SNDBUF),
                (socket.SOL_SOCKET, socket.SO_REUSEADDR),
                (socket.IPPROTO_IP, IP_RECVERR),
                (socket.IPPROTO_IPV6, IPV6_RECVERR),
            )
        ),
    ),
    "socket": Rule(
        "TCP and UDP; AF_NETLINK and AF_UNIX are the resolver's", _one_of(0, *_NET, socket.AF_UNIX, socket.AF_NETLINK)
    ),
}
"""Added where the policy of sockets lets TAs reach the network."""

_ANSWER = "reading a process' number, answering with the path of its program"

PROGRAMS: dict[str, Rule] = {
    "brk": Rule(_MEMORY),
    "exit_group": Rule(_EXIT),
    "madvise": Rule(_MEMORY),
    "mmap": Rule(_MEMORY),
    "munmap": Rule(_MEMORY),
    "read": Rule(_ANSWER),
    "readlink": Rule(_ANSWER),
    "readlinkat": Rule(_ANSWER),
    "rt_sigreturn": Rule(_SIGNALS),
    "write": Rule(_ANSWER),
}
"""All that the child process of `programs.py` may."""

NO_SUCH_CALL = ("clone3",)
"""Answered ENOSYS: libc then takes clone, whose flags the filter can see."""

_DEBUG = "another process' memory"
_MOUNT = "the tree of file systems"
_KERNEL = "the kernel itself"
_BOX = "the box that a process is in"
_PROCESS = "another process or program"

FATAL: dict[str, str] = {
    "ptrace": _DEBUG,
    "process_vm_readv": _DEBUG,
    "process_vm_writev": _DEBUG,
    "kcmp": _DEBUG,
    "pidfd_getfd": _DEBUG,
    "mount": _MOUNT,
    "umount2": _MOUNT,
    "move_mount": _MOUNT,
    "open_tree": _MOUNT,
    "fsopen": _MOUNT,
    "fsmount": _MOUNT,
    "mount_setattr": _MOUNT,
    "pivot_root": _MOUNT,
    "chroot": _MOUNT,
    "open_by_handle_at": _MOUNT,
    "swapon": _MOUNT,
    "swapoff": _MOUNT,
    "bpf": _KERNEL,
    "init_module": _KERNEL,
    "finit_module": _KERNEL,
    "delete_module": _KERNEL,
    "kexec_load": _KERNEL,
    "kexec_file_load": _KERNEL,
    "reboot": _KERNEL,
    "iopl": _KERNEL,
    "ioperm": _KERNEL,
    "perf_event_open": _KERNEL,
    "userfaultfd": _KERNEL,
    "setns": _BOX,
    "unshare": _BOX,
    "add_key": _BOX,
    "request_key": _BOX,
    "keyctl": _BOX,
    "execve": _PROCESS,
    "execveat": _PROCESS,
    "fork": _PROCESS,
    "vfork": _PROCESS,
}
"""The process is killed (SIGSYS): whoever asks is an intruder."""

FATAL_SIGNAL = signal.SIGSYS


def allowed(*, sockets: bool) -> dict[str, Rule]:
    """The whole list for these options; an option's rule replaces the stricter one of the same call."""
    return ALLOWED | SOCKETS if sockets else dict(ALLOWED)
