"""The processes of a training that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.runtime.device import resolve_device, use_available_cores
from ssbsn_cli.core.runtime.parsing import whole_number


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them; `rank` is its own number, from 0."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def batching(self, batch_size: int, seed: int) -> Batching:
        """Return which crops of each step this process draws; refuse uneven splits."""
        if batch_size % self.world:
            raise OptionError(
                f"A batch of {batch_size} cannot be shared by {self.world} processes.",
                f"Use a --batch-size that is a multiple of {self.world}.",
            )
        return Batching(batch_size // self.world, seed, self.rank, self.world)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Have the processes average their gradients."""
        return nn.parallel.DistributedDataParallel(network) if self.world > 1 else network

    def agree(self, loss: float, stop: bool, seconds: float) -> tuple[float, bool, float]:
        """Return the mean loss, whether any process wants to stop, and the leader's time."""
        if self.world == 1:
            return loss, stop, seconds
        values = torch.tensor(
            [loss, float(stop), seconds * self.leads], dtype=torch.float64, device=self.device
        )
        dist.all_reduce(values)
        total, stops, time = values.tolist()
        return total / self.world, stops > 0, time

    def gather(self, value: object) -> list[object]:
        """Return the value of each process."""
        said: list[object] = [value] * self.world
        if self.world > 1:
            with self.together():
                dist.all_gather_object(said, value)
        return said

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Turn errors raised inside into one that says that another process is gone."""
        try:
            yield
        except RuntimeError as error:
            if self.world > 1 and re.search(r"connection|gloo|nccl|socket", str(error), re.I):
                raise SsbsnError(
                    "Another process of this training is gone.",
                    "See what it said, then start the same command with --resume.",
                ) from None
            raise

    def leave(self) -> None:
        """Leave the group of processes.

        What `wrap` returned must be gone: if it were the last to let go of the group, it would
        wait for the group's threads and keep Python's lock, for which they may wait (PyTorch 2.13).
        """
        if dist.is_initialized():
            dist.destroy_process_group()


def told_number(name: str, least: int) -> int:
    """Return a number that ``torchrun`` tells its processes, or `least` if it tells none.

    Raises
    ------
    OptionError
        The environment variable is no such number.
    """
    text = os.environ.get(name) or str(least)
    number = whole_number(text)
    if number is None or number < least:
        raise OptionError(
            f"{name} is {text!r}, which torchrun never sets.",
            f"Start torchrun anew, or unset {name}.",
        )
    return number


def join_team(device: str) -> Team:
    """Join the other processes if ``torchrun`` started this one.

    With several processes, "auto" and "cuda" give each process of a machine its own GPU.
    """
    world, local = told_number("WORLD_SIZE", 1), told_number("LOCAL_RANK", 0)
    resolved = resolve_device(device)
    use_available_cores()
    if world == 1:
        return Team(0, 1, resolved)
    if resolved.type == "cuda":
        if device not in ("auto", "cuda"):
            raise OptionError(
                f"Several processes cannot share the device {device}.",
                "Use --device cuda, which gives each its own, or start ssbsn without torchrun.",
            )
        resolved = resolve_device(f"cuda:{local}")
        torch.cuda.set_device(resolved)
    try:
        rank = _join(world, "nccl" if resolved.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(
            f"The processes of this training do not find each other: {reason}",
            "Start them with torchrun, with the same address and port for all.",
        ) from None
    return Team(rank, world, resolved)


def _join(world: int, backend: str) -> int:
    store, rank, _ = next(rendezvous("env://"))
    # Workers that torchrun restarts share a store with the dead ones, and would connect to their
    # addresses. Only on one machine do all workers count the same number of restarts.
    if os.environ.get("LOCAL_WORLD_SIZE") == str(world):
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(  # type: ignore[attr-defined]
            f"attempt-{attempt}", store
        )
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    return int(rank)
