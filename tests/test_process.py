"""What a process does with its streams and with signals to stop."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from ssbsn_cli.core.runtime import process

BEGIN = "import os, signal, sys, threading, time\nfrom ssbsn_cli.core.runtime.process import *\n"
STUCK = """
end_on_signals()
# Python's own threads end the process only when they are done.
threading.Thread(target=time.sleep, args=(100,)).start()
print("ready", flush=True)
time.sleep(100)
"""
SAVING = """
end_on_signals()
with deferred_interrupts() as interrupt:
    print("ready", flush=True)
    while not interrupt.number:
        time.sleep(0.01)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        time.sleep(0.01)
    print("saved", flush=True)
    interrupt.raise_again()
"""


def start(code, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_process_whose_threads_do_not_end(number):
    process = start(STUCK)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number


def test_what_has_to_be_saved_is_saved_even_if_it_takes_longer():
    process = start(SAVING, stderr=subprocess.DEVNULL)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "saved\n"


def test_a_second_signal_does_not_wait_for_that():
    process = start(SAVING, stderr=subprocess.DEVNULL)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == ""


def test_a_signal_that_was_ignored_still_is():
    code = "end_on_signals()\nprint('ready', flush=True)\ntime.sleep(1)\nprint('done')"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(code)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == "done\n"


def test_libraries_are_silenced_and_this_program_is_not():
    code = """
prepare_streams()
with silenced_libraries():
    os.write(2, b"theirs ")
    print("ours", file=sys.stderr)
os.write(2, b"later")
"""
    result = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True)
    assert result.stderr == "ours\nlater"


def test_a_code_page_without_a_character_is_no_error():
    code = "prepare_streams()\nprint('кэш')\nflush_streams()"
    command = [sys.executable, "-X", "utf8=0", "-c", BEGIN + code]
    result = subprocess.run(command, env={"PYTHONIOENCODING": "cp1252"}, capture_output=True)
    assert result.stdout == rb"\u043a\u044d\u0448" + b"\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there are different")
def test_a_pipe_that_is_empty_for_a_while_is_not_at_its_end():
    code = (
        "from ssbsn_cli.core.runtime.process import stdin; print(flush=True); "
        "print(len(stdin().read()))"
    )
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.2)
        os.write(writing, b"photo")
        os.close(writing)
        assert process.stdout.read() == b"5\n"
    os.close(reading)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there are different")
def test_a_pipe_that_is_full_for_a_while_gets_everything():
    code = "from ssbsn_cli.core.runtime.process import stdout; stdout().write(bytes(10**6))"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-c", code], stdout=writing) as process:
        os.close(writing)
        time.sleep(0.2)
        with os.fdopen(reading, "rb") as stream:
            assert len(stream.read()) == 10**6
    assert process.returncode == 0


def test_all_is_written_even_if_the_system_takes_a_part_at_a_time(monkeypatch):
    class Reluctant(io.RawIOBase):
        taken = b""

        def write(self, data):
            self.taken += bytes(data[:3])
            return len(data[:3])

    class Unbuffered:
        buffer = Reluctant()

        def fileno(self):
            raise OSError

    monkeypatch.setattr(sys, "stdout", Unbuffered())
    process.write_out(b"a whole photo")
    assert Unbuffered.buffer.taken == b"a whole photo"
