"""A system without what only Unix has, for our modules alone, since other packages look for the system: run as a script, a command of ours.

Takes away modules and names that Windows does not have, C functions of the process itself, and renaming over a file that is there.
"""

import builtins
import ctypes
import os
import pathlib
import sys
import types

MODULES = set("crypt curses fcntl grp nis ossaudiodev posix pty pwd readline resource spwd syslog termios tty".split())
NAMES = {
    "os": """
        EX_OK O_CLOEXEC O_DIRECTORY O_DSYNC O_NDELAY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC O_TMPFILE SCHED_OTHER WEXITSTATUS
        WIFEXITED WNOHANG chown chroot confstr copy_file_range ctermid fchdir fchmod fchown fdatasync fork forkpty fpathconf
        fstatvfs getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid getxattr
        initgroups killpg lchown listxattr lockf login_tty major makedev memfd_create minor mkfifo mknod nice openpty pathconf
        pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev readv register_at_fork removexattr
        sched_getaffinity sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setscheduler sched_yield
        sendfile setegid seteuid setgid setgroups setpgid setpriority setsid setuid setxattr statvfs sync sysconf tcgetpgrp
        ttyname uname wait wait3 wait4 waitid writev
    """,
    "signal": """
        ITIMER_REAL SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG
        SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIG_BLOCK alarm getitimer pause pthread_kill pthread_sigmask setitimer
        siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
    """,
    "socket": "AF_UNIX SO_REUSEPORT CMSG_LEN send_fds recv_fds",
    "select": "poll epoll kqueue devpoll",
    "time": "clock_settime pthread_getcpuclockid tzset CLOCK_MONOTONIC clock_gettime",
    "shutil": "chown",
}


class Elsewhere(types.ModuleType):
    """A module of Python's without some names."""

    def __init__(self, real: types.ModuleType, lacks: set[str]):
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _lacks=lacks)

    def __getattr__(self, name: str):
        if name in self._lacks:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._real, name)


def ours() -> bool:
    """Whether a module of ours has called what calls this."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("bitmosaic")


def take_away() -> None:
    """For the rest of this process, in which our modules are imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitmosaic"]:
        del sys.modules[name]
    proxies, true_import, true_rename, true_library = {}, builtins.__import__, pathlib.Path.rename, ctypes.CDLL

    def imported(name, globals=None, locals=None, fromlist=(), level=0):
        if level or not (globals or {}).get("__name__", "").startswith("bitmosaic"):
            return true_import(name, globals, locals, fromlist, level)
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = true_import(name, globals, locals, fromlist, level)
        return proxies.setdefault(name, Elsewhere(found, set(NAMES[name].split()))) if name in NAMES else found

    def rename(self, target):
        if ours() and os.path.lexists(target):
            raise FileExistsError(17, "there is a file of that name, over which Windows does not rename", str(target))
        return true_rename(self, target)

    def library(name, *arguments, **keywords):
        if name is None and ours():
            raise TypeError("the process itself is no library on this system")
        return true_library(name, *arguments, **keywords)

    builtins.__import__, pathlib.Path.rename, ctypes.CDLL = imported, rename, library


if __name__ == "__main__":
    take_away()
    from bitmosaic.cli import main

    sys.exit(main(sys.argv[1:]))
