"""`bitmosaic studio`: a page where a pipeline draws and a person paints, and an HTTP service for applications."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated

import torch
import tyro

from bitmosaic.commands.pipelines import DEFAULT, Drawing, load
from bitmosaic.memory import keep
from bitmosaic.pipelines import Pipeline
from bitmosaic.web.limits import Limits

TOKEN = "BITMOSAIC_TOKEN"
LEAST = 16  # characters of a token
HARD_TO_GUESS = "any long text that is hard to guess, such as from: openssl rand -hex 24"
NO_LIMITS_GIVEN = Limits()
_NAMED = tyro.conf.arg(metavar="PIPELINE ...", help_behavior_hint=f"(default: {DEFAULT})")
Pipelines = Annotated[tuple[str, ...], tyro.conf.Positional, _NAMED]


def studio(
    pipelines: Pipelines = (DEFAULT,), *, host: str = "127.0.0.1", port: int = 8420,
    token: Annotated[str | None, tyro.conf.arg(metavar="TOKEN", help_behavior_hint=f"(default: ${TOKEN})")] = None,
    origin: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ORIGIN ...", help_behavior_hint="")] = (), batch: int = 64,
    wait: float = 0.05, limits: tyro.conf.OmitArgPrefixes[Limits] = NO_LIMITS_GIVEN, device: str = "cpu", precision: Drawing = "own",
) -> None:  # fmt: skip
    """Serves a page that generates, paints, blends, enriches and looks inside, and the same functions by HTTP, until Ctrl-C or SIGTERM.

    Only this machine can reach it unless another host is named; then a token is needed, which clients send as 'Authorization: Bearer
    TOKEN' and the page takes from its address, after '#token='. On SIGTERM or the first Ctrl-C running requests are finished.

    Args:
        pipelines: names of shipped ones (see 'bitmosaic list'), or folders of pipelines or finished training runs; the first is the
            default.
        host: address to listen on; 0.0.0.0 for all.
        port: to listen on; 0: a free one.
        token: that requests must send, at least 16 characters; required where other machines can reach the host.
        origin: other sites whose pages may send requests, such as https://example.org.
        batch: images drawn in one batch, at most.
        wait: seconds that a request waits to be batched with others; docs/studio.md says when it is more, or less.
        limits: of one request, and of all together.
        device: where to compute, such as cpu or cuda.
        precision: of the network that draws; own: float32, or auto above 100 million weights; auto: bf16 where the processor has
            bf16 arithmetic, else float32.
    """
    try:
        from bitmosaic.web.app import application
        from bitmosaic.web.guard import is_loopback
        from bitmosaic.web.kept import cache_folder
        from bitmosaic.web.server import server_of
        from bitmosaic.web.studio import Studio
    except ImportError as error:
        raise ValueError(f"the studio needs {error.name}; install it with: pip install 'bitmosaic[web]'") from error
    shown_token = f"#token={token}" if token and sys.stdout.isatty() else ""  # shown to a person, not written to a log
    token = token if token is not None else os.environ.get(TOKEN)
    if token is None and not is_loopback(host):
        raise ValueError(f"token: got none, and other machines can reach {host}; give --token or ${TOKEN}, {HARD_TO_GUESS}")
    if token is not None:
        check_token(token)
    if batch < limits.count or not 0 <= wait <= 60:
        raise ValueError(f"batch, wait: got {batch} and {wait}; give at least --count, {limits.count} images, and from 0 to 60 seconds")
    keep(one_heap=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # or this thread would keep an OpenMP pool of its own, beside which the model's would wait more slowly
    named = loaded(pipelines or (DEFAULT,), device, precision)
    listening = listen(host, port)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    hosts = ["localhost", "127.0.0.1", "::1"] + [host] * (host not in ("127.0.0.1", "::1")) if is_loopback(host) else None
    app = application(Studio(named, limits, batch, wait, threads, cache_folder()), token=token, hosts=hosts, origins=origin)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("bitmosaic.studio").setLevel(logging.INFO)
    server = server_of(app, limits)
    print(f"bitmosaic studio: http://{shown}:{port}/{shown_token}  (Ctrl-C ends it)", flush=True)
    server.run(sockets=[listening])
    server.end()


def loaded(paths: tuple[str, ...], device: str, precision: Drawing) -> dict[str, Pipeline]:
    """Pipelines by their names. ValueError for two of the same name, and for one that is not of pictures."""
    named = {_name(path): load(path, device, precision=precision) for path in paths}
    for pipe in named.values():
        pipe.check_pictures()
    if len(named) < len(paths):
        raise ValueError(f"pipelines: two of {', '.join(paths)} have one name, {', '.join(named)}; rename a folder")
    return named


def check_token(token: str) -> None:
    """ValueError for a token that is easy to guess, or that a header cannot hold. The message leaves it out, since it is a secret."""
    if re.fullmatch("[!-~]*", token) is None:
        raise ValueError(f"token: it holds blanks or letters beyond ASCII, which a header does not carry; give {HARD_TO_GUESS}")
    if len(token) < LEAST or len(set(token)) < LEAST // 4:
        raise ValueError(
            f"token: got one of {len(token)} characters, {len(set(token))} different ones; give at least {LEAST}, {HARD_TO_GUESS}"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. ValueError for an invalid address, and for one in use."""
    if not 0 <= port < 65536:
        raise ValueError(f"port: got {port}; give a number from 0 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(2048)  # before the address is printed: a client that connects at once waits, and is not refused
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"host, port: cannot listen on {host}, port {port} ({why}); give others, such as --port 0 for one that is free"
        ) from None
    return found


def _name(path: str) -> str:
    """A pipeline's name: of the zoo, or of its folder."""
    folder = Path(path).expanduser()
    name = folder.resolve().name if folder.exists() else path
    return folder.resolve().parent.name if name == "pipeline" else name
