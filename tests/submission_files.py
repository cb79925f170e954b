"""Read submissions as a benchmark would, and fail if anything is missing."""

from __future__ import annotations

import base64
import csv

import numpy as np
from scipy.io import loadmat


def read_sidd_csv(path, shape):
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["ID"]) for row in rows] == list(range(shape[0] * shape[1]))
    content = b"".join(base64.b64decode(row["BLOCK"], validate=True) for row in rows)
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_sidd_mat(path, shape):
    cells = loadmat(path)["DenoisedBlocksSrgb"]
    assert cells.shape == shape[:2]
    blocks = np.stack(list(cells.ravel())).reshape(shape)
    assert blocks.dtype == np.uint8
    return blocks


def read_dnd_crop(path):
    crop = loadmat(path)["Idenoised_crop"]
    assert crop.dtype == np.float32
    return crop


def read_dnd_submission(folder, images=50, boxes=20):
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"{i:04d}.mat" for i in range(1, images + 1)]
    for path in paths:
        stored = loadmat(path)
        assert not stored["israw"]
        assert stored["eval_version"] == "1.0"
        cells = stored["Idenoised"]
        assert cells.shape == (1, boxes)
        yield list(cells[0])
