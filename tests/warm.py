"""Child processes that begin warm: a server that has loaded torch forks for each command line.

A Python of its own with torch takes two seconds of processor time and more, a fork of one that stands ready 0.02. The server has
loaded our modules, and what these import where they need it; it has called nothing, set no seed and started no thread.
`run` and `Child` take the command lines that begin with `sys.executable` and give what `subprocess.run` and `Popen` give. Not for tests of
memory, of numbers of threads or of starting Python itself; torchrun's agent is left to the slow tests, `torchrun` starts its ranks.
"""

import atexit
import concurrent.futures
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

FORKS = sys.platform == "linux"  # elsewhere a child is an interpreter of its own
LATER = """
constriction faiss matplotlib.backends.backend_agg matplotlib.figure pydantic.main prometheus_client starlette.applications
torch._dynamo torch.distributed.fsdp torch.distributed.checkpoint.state_dict torchmetrics.functional.image uvicorn
"""



@functools.cache
def load() -> None:
    """Imports our modules, and what these import where they need it."""
    ours = importlib.import_module("bitmosaic").__path__
    for name in (*LATER.split(), *(module.name for module in pkgutil.walk_packages(ours, "bitmosaic."))):
        with contextlib.suppress(ImportError):
            name.endswith("__main__") or importlib.import_module(name)


# ---- the server


def serve(link: socket.socket) -> dict | None:
    """Forks for what is asked for and tells what has ended; returns in each child, with what it is to be."""
    waker, woken = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for pytest, which ends this by closing the link
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    living = set()
    while True:
        ready = select.select([link, waker], [], [])[0]
        if waker in ready:
            os.read(waker, 1000)
        while living and (ended := os.wait4(-1, os.WNOHANG))[0]:
            living.discard(ended[0])
            usage = ended[2].ru_utime + ended[2].ru_stime
            link.send(json.dumps([ended[0], os.waitstatus_to_exitcode(ended[1]), usage]).encode())
        if link not in ready:
            continue
        data, places, _, _ = socket.recv_fds(link, 1_000_000, 3)
        if not data:
            for child in living:
                os.kill(child, signal.SIGKILL)
            return None
        if not (child := os.fork()):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for place, fd in enumerate(places):
                os.dup2(fd, place)
            for fd in (*places, waker, woken, link.detach()):
                os.close(fd)
            return json.loads(data)
        living.add(child)
        link.send(json.dumps([child]).encode())
        for fd in places:
            os.close(fd)


def become(told: dict) -> None:
    """What Python does with a command line: -m module, -c code, or a file."""
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["folder"])
    first, *rest = told["words"]
    sys.path[0] = str(Path(first).parent) if first not in ("-c", "-m") else os.getcwd()
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    sys.argv[:] = rest if first == "-m" else told["words"]
    if first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        names = sys.modules["__main__"].__dict__
        names.pop("__file__")
        exec(compile(rest[0], "<string>", "exec"), names)
    else:
        runpy.run_path(first, run_name="__main__")


def end_as(told: dict) -> None:
    """Becomes it and ends as Python does, but for taking all modules apart, which takes seconds where so many are loaded."""
    status = 0
    try:
        become(told)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


# ---- its clients


class Server:
    """The server of this process, and which of its processes have ended, how."""

    def __init__(self):
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL, env=environment)
        theirs.close()
        self.ended: dict[int, int] = {}
        self.seconds = 0.0
        self.lock = threading.RLock()
        atexit.register(self.close)

    def hear(self, seconds: float | None) -> int | None:
        """The number of a process that has begun, or None after word of one that has ended or after so many seconds."""
        with self.lock:
            if not select.select([self.link], [], [], seconds)[0]:
                return None
            told = self.link.recv(1000)
            assert told, "the warm process has ended"
            number, *ended = json.loads(told)
            if not ended:
                return number
            self.ended[number] = ended[0]
            self.seconds += ended[1]
            return None

    def start(self, told: dict, places: list[int]) -> int:
        with self.lock:
            socket.send_fds(self.link, [json.dumps(told).encode()], places)
            while (number := self.hear(None)) is None:
                pass
            return number

    def close(self):
        self.link.close()
        self.process.wait(20)


@functools.cache
def server() -> Server:
    return Server()


def seconds() -> float:
    """Processor time that children which have ended have taken."""
    return server().seconds if server.cache_info().currsize else 0.0


class Child:
    """What a command line becomes; of subprocess.Popen it has what tests use."""

    def __init__(self, line, cwd=None, env=None, stdout=None, stderr=None):
        self.args, self.returncode, mine = line, None, []
        self.stdout, out = self._end(stdout, mine)
        self.stderr, err = (None, out) if stderr == subprocess.STDOUT else self._end(stderr, mine)
        told = {"words": [os.fspath(word) for word in line[1:]], "env": dict(os.environ if env is None else env)}
        with open(os.devnull) as nothing:
            self.pid = server().start({**told, "folder": os.path.abspath(cwd or ".")}, [nothing.fileno(), out, err])
        for fd in mine:
            os.close(fd)

    def _end(self, where, mine: list[int]):
        """Where to read, if it is a pipe, and the descriptor to write to."""
        if where not in (None, subprocess.PIPE, subprocess.DEVNULL):
            return None, where if isinstance(where, int) else where.fileno()
        read, write = os.pipe() if where == subprocess.PIPE else (None, os.open(os.devnull, os.O_WRONLY))
        mine.append(write)
        return None if read is None else open(read), write

    def poll(self) -> int | None:
        while self.returncode is None and self.pid not in server().ended and select.select([server().link], [], [], 0)[0]:
            server().hear(0)
        if self.returncode is None:
            self.returncode = server().ended.pop(self.pid, None)
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.args, timeout)
            select.select([server().link], [], [], 0.05)  # another thread may hear of it
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str | None, str | None]:
        def read(end):
            with end:
                return end.read()

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ends = [end and pool.submit(read, end) for end in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return tuple(end and end.result() for end in ends)

    def send_signal(self, what: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, what)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (self.stdout, self.stderr):
            if end:
                end.close()
        self.wait()


if not FORKS:
    Child = functools.partial(subprocess.Popen, text=True)  # noqa: F811


def run(line, cwd=None, env=None, timeout: float = 200) -> subprocess.CompletedProcess:
    """What a command line printed and how it ended."""
    child = Child(line, cwd, env, subprocess.PIPE, subprocess.PIPE)
    out, err = child.communicate(timeout=timeout)
    return subprocess.CompletedProcess(line, child.returncode, out, err)


def torchrun(processes: int, line, cwd=None, env=None, timeout: float = 200) -> subprocess.CompletedProcess:
    """What the ranks of one node printed, all together: what torchrun starts, without its agent. One that fails ends the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    every = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        every = {**(os.environ if env is None else env), **every, "GROUP_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}
        ranks = [Child(line, cwd, {**every, "RANK": str(i), "LOCAL_RANK": str(i)}, out, err) for i in range(processes)]
        until = time.monotonic() + timeout
        while any(rank.poll() is None for rank in ranks) and not any(rank.returncode for rank in ranks) and time.monotonic() < until:
            time.sleep(0.02)
        failed = sorted((rank for rank in ranks if rank.poll() != 0), key=lambda rank: rank.returncode is None)  # that ended first
        for rank in ranks:
            rank.terminate()
        for rank in ranks:
            rank.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(line, failed[0].returncode if failed else 0, out.read(), err.read())


if __name__ == "__main__":
    link = socket.socket(fileno=os.dup(0))
    load()
    gc.freeze()  # so that a child's collections do not walk through, and so copy, what they can never free
    told = serve(link)
    if told is not None:
        end_as(told)
