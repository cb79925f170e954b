"""Whether another runtime is worth having: the same networks eager, compiled, and in others.

    python tests/bench_runtimes.py [--side N] [--repeat N]

OpenVINO and ONNX Runtime are left out where they are not installed: ``pip install openvino
onnxruntime onnx``. Every way is checked against eager fp32, and timed in turns with the others.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.runtime.heap import keep_freed_memory
from ssbsn_cli.core.weights.locate import load_weights

Run = Callable[[Tensor], np.ndarray]


def eager(network: Network, dtype: torch.dtype) -> Run:
    network.use_dtype(dtype)
    network.to(memory_format=torch.channels_last)
    return lambda x: network(x).float().numpy()


def compiled(network: Network, dtype: torch.dtype) -> Run:
    network.use_dtype(dtype)
    fast = torch.compile(network.to(memory_format=torch.channels_last))
    return lambda x: fast(x).float().numpy()


def onnx_file(network: Network, x: Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x,), file, dynamo=False, opset_version=17)
    return file.getvalue()


def onnxruntime(network: Network, x: Tensor) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        onnx_file(network, x), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.contiguous().numpy()})[0]


def openvino(network: Network, x: Tensor, precision: str) -> Run:
    import openvino

    model = openvino.Core().read_model(onnx_file(network, x))
    model = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda x: model(x.contiguous().numpy())[0]


def ways(make: Callable[[], Network], x: Tensor) -> dict[str, Run]:
    found: dict[str, Run] = {
        "eager, fp32": eager(make(), torch.float32),
        "eager, bf16": eager(make(), torch.bfloat16),
        "torch.compile, fp32": compiled(make(), torch.float32),
        "torch.compile, bf16": compiled(make(), torch.bfloat16),
    }
    if importlib.util.find_spec("onnxruntime"):
        found["ONNX Runtime, fp32"] = onnxruntime(make(), x)
    if importlib.util.find_spec("openvino"):
        found["OpenVINO, fp32"] = openvino(make(), x, "f32")
        found["OpenVINO, bf16"] = openvino(make(), x, "bf16")
    return found


def bench(title: str, make: Callable[[], Network], side: int, repeat: int) -> Table:
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    table = Table(
        title,
        "s, the first",
        "s, the best after it",
        "times faster",
        "RMS to eager fp32 in grey levels",
    )
    runs = ways(make, x)
    first, results, best = {}, {}, dict.fromkeys(runs, np.inf)
    for name, run in runs.items():
        start = time.perf_counter()
        results[name] = run(x)
        first[name] = time.perf_counter() - start
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            best[name] = min(best[name], time.perf_counter() - start)
    reference = next(iter(runs))
    for name in runs:
        apart = 255 * float(np.sqrt(np.mean((results[name] - results[reference]) ** 2)))
        table.add_row(
            name,
            f"{first[name]:.2f}",
            f"{best[name]:.3f}",
            f"{best[reference] / best[name]:.2f}",
            f"{apart:.3f}",
        )
    return table


def blind_spot_network() -> Network:
    # PD of stride 1 is none.
    network = SSBSN(128, pd_b=1, pd_pad=0)
    network.initialise(0)
    return network.eval()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    # As the commands do.
    keep_freed_memory()
    for title, make in (
        ("photo", lambda: load_weights("photo").network.float().eval()),
        ("SS-BSN, C = 128, one pass", blind_spot_network),
    ):
        Console(width=120).print(bench(title, make, arguments.side, arguments.repeat))


if __name__ == "__main__":
    main()
