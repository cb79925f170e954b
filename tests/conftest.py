"""What several tests share."""

from __future__ import annotations

import gc

import pytest
import torch

from ssbsn_cli.core.model.ssbsn import SSBSN

# Threads that wait for each other make tiny networks slow wherever something else runs, too.
torch.set_num_threads(1)

TINY = {
    "ssbsn": {"channels": 12, "blocks": ("plain", "ss", "ss")},
    "apbsn": {"channels": 12, "blocks": ("light", "light")},
}


def make_network(family: str) -> SSBSN:
    """A small network whose weights are large enough for every layer to matter."""
    torch.manual_seed(0)
    network = SSBSN(**TINY[family])
    with torch.no_grad():
        for name, value in network.named_parameters():
            scale = 0.1 if name.endswith("bias") else (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn_like(value) * scale)
    return network.eval()


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(family: str) -> SSBSN:
    return make_network(family)


def pytest_collection_finish() -> None:
    # PyTorch and all tests stay: nothing needs to look at them whenever garbage is collected.
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest first: or one process would be busy with them when all others are done.
    items.sort(key=lambda item: item.path.name != "test_docs.py")
