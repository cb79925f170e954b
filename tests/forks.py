"""Commands that start at once, forked from a process that has imported all they need.

``python forks.py SOCKET`` waits for commands. ``python forks.py SOCKET -m MODULE WORDS`` has one
run as ``python -m MODULE WORDS`` would: with the streams, directory and environment of its caller,
whose signals it gets. So does ``python forks.py SOCKET -c CODE WORDS``.
"""

from __future__ import annotations

import gc
import json
import os
import signal
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
            command = int(file.readline())
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: os.kill(command, number))
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
    callers: dict[socket.socket, int] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.new")
        server.listen(16)
        Path(f"{path}.new").rename(path)
        while os.getppid() == parent:
            for ready in select([server, *running, *callers], [], [], 1)[0]:
                if ready is server:
                    connection, _ = server.accept()
                    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
                    with connection.makefile() as file:
                        request = json.loads(file.readline())
                    child = os.fork()
                    if not child:
                        connection.close()
                        run(streams, *request)
                    for stream in streams:
                        os.close(stream)
                    with suppress(BrokenPipeError):
                        connection.sendall(b"%d\n" % child)
                    running[os.pidfd_open(child)] = child, connection
                    callers[connection] = child
                elif ready in callers:
                    # The caller was killed.
                    os.kill(callers.pop(ready), signal.SIGKILL)
                elif ready in running:
                    child, connection = running.pop(ready)
                    os.close(ready)
                    callers.pop(connection, None)
                    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                    with connection, suppress(BrokenPipeError):
                        connection.sendall(b"%d\n" % (code % 256))


def run(streams: list[int], words: list[str], directory: str, environment: dict[str, str]) -> None:
    """Become the requested command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = directory
    option, what, *rest = words
    sys.argv = [option, *rest]
    if option == "-c":
        exec(what, {"__name__": "__main__"})
    else:
        run_module(what, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _, path, *words = sys.argv
    if words:
        sys.exit(ask(path, words))
    serve(path)
