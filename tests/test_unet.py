"""The U-Net: local, of any size, trained and run like every other network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_training import losses, state
from training_runs import Tiny, assert_same, write_photos

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.weights.checkpoints import encode_checkpoint

SMALL = {"widths": [8, 12, 16], "depths": [1, 1, 2]}
CONFIG = """
[model]
architecture = "unet"
refine = "none"
[model.parameters]
widths = [8, 12]
depths = [1, 1]
[training]
steps = 8
batch_size = 2
crop = 16
objectives = { pairs = 1.0 }
validation_crops = 2
precision = "fp32"
device = "cpu"
[pairs]
lifted = 0.5
halved = 0.5
darkened = 0.3
colored = 0.5
grey = 0.2
[optimizer]
learning_rate = 1e-3
"""


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = UNet(**SMALL).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture
def tiny(tmp_path):
    tiny = Tiny(tmp_path)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    write_photos(tiny.photos, size=(136, 136))
    return tiny


def test_what_is_far_away_has_no_influence(network):
    """No statistics of the whole image: so tiles agree but at their edges."""
    x = torch.rand(1, 3, 32, 512)
    other = x.clone()
    other[..., 320:] = torch.rand(1, 3, 32, 192)
    with torch.inference_mode():
        a, b = network.denoise(x), network.denoise(other)
    assert torch.equal(a[..., :160], b[..., :160])
    assert not torch.equal(a[..., 318:320], b[..., 318:320])


def test_shifting_the_image_by_the_multiple_shifts_the_result(network):
    step = network.size_multiple
    x = torch.rand(1, 3, 32, 512)
    with torch.inference_mode():
        a, b = network.denoise(x), network.denoise(x[..., step:])
    torch.testing.assert_close(a[..., 200:300], b[..., 200 - step : 300 - step])


def test_it_begins_by_leaving_images_alone():
    network = UNet(**SMALL)
    network.initialise(3)
    x = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(network(x), x)


@pytest.mark.parametrize(
    "wrong", [{"widths": []}, {"depths": [1, 2]}, {"widths": [0, 1], "depths": [1, 1]}]
)
def test_senseless_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="widths and depths"):
        UNet(**{**SMALL, **wrong})


def test_a_tiled_result_is_the_untiled_one(network, tmp_path):
    path = tmp_path / "w.safetensors"
    # Behind this halo, of which an overlap of four times as much keeps everything, no pixel sees
    # that its tile ends.
    descriptor = Descriptor("unet", SMALL, refine="none", halo=62)
    path.write_bytes(encode_checkpoint(network.state_dict(), descriptor, {}))
    image = np.random.default_rng(0).random((520, 560, 3), np.float32)
    usual = {"device": "cpu", "precision": "fp32", "multiscale": "off", "wiener": "off"}
    whole, tiled = (
        load_denoiser(str(path), tile=tile, overlap=overlap, **usual)(image)
        for tile, overlap in ((0, 0), (496, 248))
    )
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_it_learns_from_clean_photos_and_lifted_noise(tiny):
    run = tiny.train(
        pairs=[str(tiny.photos)], options={"training.steps": 200, "training.validation_crops": 32}
    )
    assert any("Lifted the noise of 3 photos" in line for line in tiny.said)
    values = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = [each["loss"] for each in values if each["event"] == "validation"]
    assert scores[-1] < scores[0]
    assert load_denoiser(str(run), device="cpu")(np.zeros((9, 9, 3), np.uint8)).shape == (9, 9, 3)


def test_a_resumed_training_is_an_uninterrupted_one(tiny):
    same = {"pairs": [str(tiny.photos)], "changes": ["optimizer.schedule=constant"]}
    whole = tiny.train("whole", **same)
    tiny.train("parts", **same, options={"training.steps": 5})
    parts = tiny.train("parts", **same, resume=True)
    assert losses(whole) == losses(parts)
    # Only the first part was scored at its end, too.
    kept = ({**state(run), "best": 0, "best_step": 0} for run in (whole, parts))
    assert_same(*kept)


@pytest.mark.parametrize(("objective", "photos"), [("self", "data"), ("synthetic", "pairs")])
def test_it_cannot_learn_from_noisy_photos_alone(tiny, objective, photos):
    changes = [f"training.objectives={{{objective}=1}}", "training.crop=20", "pairs.lifted=0"]
    given = {"data": [], photos: [str(tiny.photos)]}
    with pytest.raises(OptionError, match=f"{objective}.*blind-spot"):
        tiny.train(**given, changes=changes)


def test_noise_cannot_be_lifted_without_noisy_photos(tiny):
    with pytest.raises(OptionError, match="no noisy photos to lift noise from") as caught:
        tiny.train(data=[], pairs=[str(tiny.photos)])
    assert "pairs.lifted=0" in caught.value.hint
