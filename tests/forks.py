"""Commands that start at once, forked from a process that has imported all they need.

``python forks.py SOCKET`` waits for commands. ``python forks.py SOCKET MODULE WORDS`` has one run
as ``python -m MODULE WORDS`` would: with the streams, directory and environment of its caller.
What gets signals has to be started in the usual way.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from runpy import run_module
from select import select

# What commands import.
LOADED = """cv2 jinja2 PIL.Image pooch pydantic pywt rich.progress rich.table safetensors.torch
scipy.io scipy.ndimage scipy.stats skimage.exposure tifffile torch torch._dynamo typer"""


def ask(path: str, words: list[str]) -> int:
    """Have a command run, and return its exit status."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        with server.makefile("rw") as file:
            json.dump((words, str(Path.cwd()), dict(os.environ)), file)
            file.write("\n")
            file.flush()
            return int(file.readline())


def serve(path: str) -> None:
    """Run commands while the process that started this one lives."""
    package = import_module("ssbsn_cli")
    own = [each.name for each in walk_packages(package.__path__, "ssbsn_cli.")]
    for name in (*LOADED.split(), *own):
        if not name.endswith("__main__"):
            import_module(name)
    # Or each command would look through all of it for garbage.
    gc.freeze()
    parent = os.getppid()
    running: dict[int, tuple[int, socket.socket]] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.new")
        server.listen(16)
        Path(f"{path}.new").rename(path)
        while os.getppid() == parent:
            for ready in select([server, *running], [], [], 1)[0]:
                if ready is server:
                    connection, _ = server.accept()
                    child = os.fork()
                    if not child:
                        run(connection)
                    running[os.pidfd_open(child)] = child, connection
                else:
                    child, connection = running.pop(ready)
                    os.close(ready)
                    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                    with connection, suppress(BrokenPipeError):
                        connection.sendall(b"%d\n" % (code % 256))


def run(connection: socket.socket) -> None:
    """Become the requested command."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection, connection.makefile() as file:
        words, directory, environment = json.loads(file.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0], sys.argv = directory, words
    run_module(words[0], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _, path, *words = sys.argv
    if words:
        sys.exit(ask(path, words))
    serve(path)
