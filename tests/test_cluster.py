"""Photos on a Dask cluster: none lost, none twice, none half, whoever dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import commands
import numpy as np
import pytest
from bench_cluster import check, make_photos, run, workers_of
from PIL import Image

from ssbsn_cli.core.errors import DeviceError, OptionError, WeightsError
from ssbsn_cli.core.inference import cluster, connecting, denoiser
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import FileOptions, Settings
from ssbsn_cli.core.runtime import device
from ssbsn_cli.core.weights.locate import find_weights
from ssbsn_cli.core.weights.registry import default_name, entries

COMMAND = [sys.executable, "-m", "ssbsn_cli", "denoise", "in", "-ro", "out"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working directory with a folder of tiny photos."""
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "in", 60)
    return tmp_path


def ssbsn(*arguments, code):
    return commands.ssbsn("denoise", "in", "-ro", "out", *arguments, code=code).stderr


def test_a_worker_dies_and_a_photo_is_broken_and_all_others_are_there(photos):
    Path("in/broken.png").write_text("no photo")
    command = [*COMMAND, "--cluster", "local:2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not Path("out").exists() and process.poll() is None:
            time.sleep(0.05)
        workers_of(process)[0].kill()
        told, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    records = {record["input"]: record for record in map(json.loads, told.splitlines())}
    assert len(told.splitlines()) == 61
    assert "in/broken.png" in records.pop("in/broken.png")["error"]
    assert all("error" not in record for record in records.values())
    for name, record in records.items():
        assert record["output"] == name.replace("in", "out", 1)
        assert record["comparison"] is None
        with Image.open(record["output"]) as image:
            image.load()
    # Nothing is loaded, and nobody is asked, if nothing is left to do.
    Path("in/broken.png").unlink()
    assert ssbsn("--cluster", "nowhere:1", "--skip-existing", code=0).count("skipped") == 60


def test_an_interrupt_ends_the_command_and_its_workers(photos):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    Image.fromarray(noise).save("in/0000/0.png", compress_level=1)
    command = [*COMMAND, "--cluster", "local:1", "--ensemble", "--tile", "128"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        while not Path("out").exists() and process.poll() is None:
            time.sleep(0.05)
        workers = workers_of(process)
        start = time.monotonic()
        # As a terminal does: to the command and its workers.
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    # Two seconds where nothing else runs.
    assert time.monotonic() - start < 10
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert workers
    for each in workers:
        each.wait(timeout=30)


@pytest.mark.slow
def test_workers_that_die_before_they_are_ready_are_replaced(photos, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "1s")
    command = [*COMMAND, "--cluster", "local:1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not Path("out").exists() and process.poll() is None:
            time.sleep(0.05)
        killed = workers_of(process)
        killed[0].kill()
        # Dask gives up those that die in one of the moments of their start.
        for moment in (0.6, 0.75, 0.9):
            while process.poll() is None:
                if new := [each for each in workers_of(process) if each not in killed]:
                    time.sleep(moment)
                    new[0].kill()
                    killed += new
                    break
                time.sleep(0.01)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert len(killed) == 4
    assert len(list(Path("out").rglob("*.png"))) == 60


@pytest.mark.slow
def test_all_photos_are_there_whichever_workers_are_killed(tmp_path):
    make_photos(tmp_path / "in", 300)
    _, killed = run(tmp_path, workers=2, every=5)
    assert killed
    check(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--cluster", "no scheduler"], 3, "no scheduler"),
        (["--cluster", "tls://127.0.0.1:9"], 2, "certificates"),
        (["--cluster", "list.json"], 2, "list.json"),
        (["--cluster", "deep.json"], 2, "deep.json"),
        (["--cluster", "local", "--adapt", "1"], 2, "adapt"),
        (["--cluster", "127.0.0.1:9", "--device", "cuda:all"], 2, "--device cuda"),
    ],
)
def test_what_is_no_cluster_is_told(photos, monkeypatch, arguments, code, word):
    Path("list.json").write_text("[]")
    Path("deep.json").write_text("[" * 100_000)
    # Of a client that has begun, Dask prints a traceback when the process ends.
    monkeypatch.setattr("distributed.Client", None)
    assert word in ssbsn(*arguments, code=code)
    assert not Path("out").exists()


def test_a_scheduler_that_does_not_answer_is_told(photos, monkeypatch):
    monkeypatch.setattr(connecting, "_PATIENCE", 1)
    assert "127.0.0.1:9" in ssbsn("--cluster", "127.0.0.1:9", code=3)


def test_a_port_that_answers_nothing_is_told(photos, monkeypatch):
    monkeypatch.setattr(connecting, "_PATIENCE", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert address in ssbsn("--cluster", address, code=3)


def test_a_cluster_without_workers_is_told(photos, monkeypatch):
    class Empty:
        def ncores(self):
            return {}

    told = []
    monkeypatch.setattr(cluster, "connect", lambda *_: contextlib.nullcontext(Empty()))
    monkeypatch.setattr(cluster, "check_versions", lambda _: None)
    monkeypatch.setattr(cluster, "_Dispatch", lambda *_: SimpleNamespace(run=lambda _: ()))
    work = cluster.Work("photo", Settings(), FileOptions())
    assert not list(cluster.denoise_on_cluster("127.0.0.1:9", (), work, told.append))
    assert "no workers" in told[0]


@pytest.mark.skipif(device.count_gpus() > 0, reason="there are GPUs")
def test_all_gpus_of_none_are_refused(photos):
    assert "CUDA" in ssbsn("--device", "cuda:all", code=3)


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    # Only which device is chosen: there is none here to compute on.
    chosen = []
    monkeypatch.setattr(device, "count_gpus", lambda: 2)
    monkeypatch.setattr(denoiser, "load_denoiser", lambda *_, device, **__: chosen.append(device))
    for name in (0, 1, 2):
        here = SimpleNamespace(name=name)
        monkeypatch.setattr("distributed.get_worker", lambda here=here: here)
        cluster._load.__wrapped__("photo", Settings(device="cuda:all"), "")
    assert chosen == ["cuda:0", "cuda:1", "cuda:0"]


def test_a_worker_notices_new_weights_in_the_same_file(tmp_path, monkeypatch):
    here = SimpleNamespace(state=SimpleNamespace(nthreads=1), name=0)
    monkeypatch.setattr("distributed.get_worker", lambda: here)
    work = cluster.Work(str(tmp_path / "w.safetensors"), Settings(device="cpu"), FileOptions())
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    digests = []
    for name in ("photo", "photo-next"):
        shutil.copy(find_weights(name)[0], tmp_path / "w.safetensors")
        job = Job(tmp_path / "a.png", tmp_path / f"{name}.png")
        ((outcome,), _) = cluster.denoise_task(work, [job])
        digests.append(outcome["weights"]["sha256"])
    assert digests == [entries()[name].sha256 for name in ("photo", "photo-next")]


def test_weights_go_by_their_name_even_beside_a_folder_of_that_name(photos, monkeypatch):
    Path("photo").mkdir()
    sent = []

    def dispatch(_client, work):
        sent.append(work.weights)
        return SimpleNamespace(run=lambda _: ())

    client = contextlib.nullcontext(SimpleNamespace(ncores=lambda: [1]))
    monkeypatch.setattr(cluster, "connect", lambda *_: client)
    monkeypatch.setattr(cluster, "check_versions", lambda _: None)
    monkeypatch.setattr(cluster, "_Dispatch", dispatch)
    for weights in ("photo", "in"):
        ssbsn("--cluster", "local:1", "--weights", weights, code=0)
    ssbsn("--cluster", "local:1", code=0)
    assert sent == ["photo", str(photos / "in"), default_name()]


def test_a_worker_that_knows_other_weights_by_the_name_is_refused(monkeypatch):
    here = SimpleNamespace(state=SimpleNamespace(nthreads=1), name=0)
    monkeypatch.setattr("distributed.get_worker", lambda: here)
    work = cluster.Work("photo", Settings(), FileOptions(), sha256="0" * 64)
    with pytest.raises(WeightsError, match="the name photo stands for other weights"):
        cluster.denoise_task(work, [])


def test_a_missing_package_is_named(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "ssbsn[cluster]" in ssbsn("--cluster", "local", code=2)


def test_machines_with_other_versions_are_named():
    def facts(python, dask):
        return {"host": {"python": python}, "packages": {"distributed": dask}}

    here = facts("3.12.1.final.0", "2026.1")
    for other in (facts("3.11.9.final.0", "2026.1"), facts("3.12.4.final.0", "2025.1")):
        found = {"client": here, "scheduler": here, "workers": {"tcp://far:1": other}}
        with pytest.raises(OptionError, match="far"):
            connecting.check_versions(SimpleNamespace(get_versions=lambda found=found: found))
    work = cluster.Work("photo", Settings(), FileOptions(), version="0")
    with pytest.raises(OptionError, match="ssbsn"):
        cluster.denoise_task(work, [])


class Done(list):
    """Stands for `as_completed`: tasks end in their order, and only if somebody waits for them."""

    def __init__(self, loop):
        super().__init__()

    add = list.append

    def __next__(self):
        return self.pop(0)

    def next_batch(self, block):
        return [self.pop(0)] if block else []


class Scheduler:
    """Stands for a client of a cluster with one worker, which does nothing."""

    loop = None

    def ncores(self):
        return {"worker": 1}

    def __init__(self):
        self.sent = 0

    def submit(self, task, work, jobs, pure):
        self.sent += len(jobs)
        return Future(jobs)

    def cancel(self, futures):
        assert not futures


class Future:
    def __init__(self, jobs):
        self.jobs = jobs

    def result(self):
        return [dict(job.skipped) for job in self.jobs], ()


def test_photos_are_taken_shortly_before_workers_need_them(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.as_completed", Done)
    (tmp_path / "out").mkdir()
    taken = 0

    def jobs():
        nonlocal taken
        for number in range(500):
            taken += 1
            if number < 100:
                # More than is taken at once.
                (tmp_path / f"out/{number}.png").touch()
            yield Job(tmp_path / f"{number}.png", tmp_path / f"out/{number}.png")

    work = cluster.Work("photo", Settings(), FileOptions())
    done = refused = 0
    for _, outcome, _ in cluster._Dispatch(Scheduler(), work).run(jobs()):
        done += 1
        refused += isinstance(outcome, Exception)
        assert taken - done < 40
    assert (done, refused) == (500, 100)


def test_photos_that_are_found_later_do_not_wait_for_a_worker_to_finish(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.as_completed", Done)
    (tmp_path / "out").mkdir()
    one, other = (Job(tmp_path / name, tmp_path / "out" / name) for name in ("a.png", "b.png"))
    scheduler = Scheduler()
    work = cluster.Work("photo", Settings(), FileOptions())
    for _ in cluster._Dispatch(scheduler, work).run(iter([one, None, other])):
        assert scheduler.sent == 2


def test_a_photo_in_its_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.as_completed", Done)
    photo = tmp_path / "a.png"
    photo.touch()
    work = cluster.Work("photo", Settings(), FileOptions(overwrite=True))
    run = cluster._Dispatch(Scheduler(), work).run([Job(photo, photo)])
    ((_, outcome, _),) = run
    assert "a.png cannot be replaced" in str(outcome)


def test_a_scheduler_that_is_gone_while_photos_are_found_is_told(monkeypatch):
    def fail(self):
        raise OSError("Timed out trying to connect.")

    monkeypatch.setattr("distributed.as_completed", Done)
    monkeypatch.setattr(Scheduler, "ncores", fail)
    work = cluster.Work("photo", Settings(), FileOptions())
    with pytest.raises(DeviceError, match="scheduler of the cluster is gone"):
        list(cluster._Dispatch(Scheduler(), work).run(iter([None])))
