"""Edits that a noisy photo goes through before it is denoised: resizing, tone, files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ssbsn_cli.core.noise.kinds import Floats, log_uniform
from ssbsn_cli.core.types import from_srgb, from_unit, to_srgb, to_unit

# The luma weights of ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GENTLE, _STRONG = (55, 98), (10, 55)


@dataclass(frozen=True)
class Edits:
    """Edits of a noisy picture and its clean counterpart, and the saving of the noisy one.

    Resizing blends neighbours, which makes noise weaker and correlates it over larger distances.
    Brightening shadows makes the steps of 8 bits visible. The clean picture gets the same edits, so
    that a network learns to remove the noise but to keep the edit.

    Parameters
    ----------
    scaled : float
        Fraction of the pictures that are enlarged, shrunk or turned, mostly by a few degrees.
    brightened, grey, sharpened : float
        Fractions of the pictures that get more light or another contrast, that lose their colours,
        and that are sharpened.
    compressed, webp : float
        Fractions of the pictures that are saved as JPEG and as WebP.
    twice, strong : float
        Fractions of the JPEGs: saved once before, with shifted blocks; and saved at low quality.

    References
    ----------
    .. [1] K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
       Super-Resolution" (BSRGAN), ICCV 2021.
    .. [2] J. Jiang, K. Zhang & R. Timofte, "Towards Flexible Blind JPEG Artifacts Removal"
       (FBCNN), ICCV 2021, for pictures that were saved twice with shifted blocks.
    """

    scaled: float = 0.2
    brightened: float = 0.12
    grey: float = 0.1
    sharpened: float = 0.06
    compressed: float = 0.4
    twice: float = 0.15
    strong: float = 0.15
    webp: float = 0.03

    def scale(self, rng: np.random.Generator) -> float:
        """Draw the factor by which a picture is enlarged: 0.5 to 2, or 1 if it keeps its size."""
        return float(2 ** rng.uniform(-1, 1)) if rng.random() < self.scaled else 1.0

    def apply(
        self, noisy: Floats, clean: Floats, side: int, scale: float, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Edit a noisy picture and the clean one it was made from, and save the noisy one.

        Parameters
        ----------
        noisy, clean : array
            (H, W, 3) float32 in [0, 1], at least ``side / scale`` pixels high and wide.
        side : int
            Height and width of the results.
        scale : float
            From `scale`.
        rng : numpy.random.Generator
            Makes all random choices.

        Returns
        -------
        noisy, clean : array
            (side, side, 3) float32 in [0, 1].
        """
        both = [noisy, clean]
        if scale != 1:
            both = _resized(both, side, scale, rng)
        if rng.random() < self.brightened:
            both = _toned(both, rng)
        if rng.random() < self.sharpened:
            sigma, amount = rng.uniform(0.5, 2), np.float32(rng.uniform(0.2, 1.5))
            both = [p + amount * (p - cv2.GaussianBlur(p, (0, 0), sigma)) for p in both]
        if rng.random() < self.grey:
            weights = LUMA if rng.random() < 0.7 else np.full(3, 1 / 3, np.float32)
            both = [np.repeat((p @ weights)[..., None], 3, axis=2) for p in both]
        noisy, clean = (np.clip(p, 0, 1) for p in both)
        return self._save(noisy, rng), clean

    def _save(self, noisy: Floats, rng: np.random.Generator) -> Floats:
        way = rng.random()
        if way < self.webp:
            return through_file(noisy, ".webp", int(rng.integers(40, 96)))
        if way < self.webp + self.compressed:
            low, high = _STRONG if rng.random() < self.strong else _GENTLE
            if rng.random() < self.twice:
                down, right = (int(v) for v in rng.integers(0, 8, 2))
                noisy = np.pad(noisy, [(down, 0), (right, 0), (0, 0)], mode="reflect")
                noisy = through_file(noisy, ".jpg", int(rng.integers(low, high)), rng)
                noisy = noisy[down:, right:]
            noisy = through_file(noisy, ".jpg", int(rng.integers(low, high)), rng)
        return noisy


def through_file(
    picture: Floats, extension: str, quality: int, rng: np.random.Generator | None = None
) -> Floats:
    """Save a picture with lossy compression and read it again.

    Parameters
    ----------
    picture : array
        (H, W, 3) float32 in [0, 1].
    extension : {".jpg", ".webp"}
        The format.
    quality : int
        1 to 100.
    rng : numpy.random.Generator, optional
        Decides whether a JPEG has colours at half the resolution. Without it, every JPEG does.

    Returns
    -------
    array
        (H, W, 3) float32, multiples of 1/255.
    """
    pixels = from_unit(picture, np.dtype(np.uint8))
    if extension == ".jpg":
        half = rng is None or rng.random() < 0.6
        sampling = "420" if half else "444"
        sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    else:
        settings = [cv2.IMWRITE_WEBP_QUALITY, quality]
    _, encoded = cv2.imencode(extension, np.ascontiguousarray(pixels[..., ::-1]), settings)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return to_unit(decoded[..., ::-1])


def _resized(both: list[Floats], side: int, scale: float, rng: np.random.Generator) -> list[Floats]:
    """Resize two pictures in the same way, and crop their middle."""
    smooth = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]
    if rng.random() < 0.25:
        turn = rng.uniform(-10, 10) if rng.random() < 0.7 else rng.uniform(-180, 180)
        height, width = both[0].shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
        matrix[:, 2] += (side - width) / 2, (side - height) / 2
        way = smooth[int(rng.integers(3))]
        warped = (
            cv2.warpAffine(p, matrix, (side, side), flags=way, borderMode=cv2.BORDER_REFLECT_101)
            for p in both
        )
        return [np.asarray(p, np.float32) for p in warped]
    area = scale < 1 and rng.random() < 0.6
    way = cv2.INTER_AREA if area else smooth[int(rng.integers(3))]
    sizes = [max(side, math.floor(length * scale)) for length in both[0].shape[1::-1]]
    both = [np.asarray(cv2.resize(p, sizes, interpolation=way), np.float32) for p in both]
    left, top = ((size - side) // 2 for size in sizes)
    return [p[top : top + side, left : left + side] for p in both]


def _toned(both: list[Floats], rng: np.random.Generator) -> list[Floats]:
    """Give two pictures more light, or another gamma."""
    both = [np.clip(p, 0, 1) for p in both]
    if rng.random() < 0.6:
        gain = np.float32(2 ** rng.uniform(0.3, 3))
        return [to_srgb(from_srgb(p) * gain).astype(np.float32) for p in both]
    gamma = np.float32(log_uniform((0.5, 1.5), rng))
    return [p**gamma for p in both]
