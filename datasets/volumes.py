"""MNIST in three dimensions (paper, A.3): a digit extruded along the depth, turned and placed at random in a volume.

    size        half of the volume: 1.5 voxels to a pixel of MNIST, so a digit of 20 pixels takes 30 of 60 voxels
    thickness   14 pixels, two thirds of a digit: where it is seen askew, its strokes hide each other
    turn        within 45 degrees about each of the three axes, as RTS has it about one. A digit leans by 60 degrees
                at most, so its front is always to be seen; but the end of a stroke may then lie 18 voxels, four times
                its width, to the side of where it begins, and a plain sum over the depth is a smear
    place       anywhere where the box of the digit, 30 x 30 x 21 voxels, lies inside however it is turned

The paper gives 60 x 60 x 60, and none of these. Every theta is the inverse of what is drawn by lot, as in
`distortions.py`; x points right, y down and z away from who looks. A volume takes 0.86 MB, so none is kept, of a test
set neither: what was drawn for it is, and makes its volumes a batch at a time.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from nanostn.sampler import spatial_transform
from nanostn.transformations import Affine3d

from .batches import TEST
from .distortions import DIGIT, RADIUS, Drawn, Kind, grey, shaded

SIDE = 60                     # voxels
SCALE = 1.5                   # voxels to a pixel
SLICES = 14                   # pixels of depth
THICKNESS = SCALE * SLICES    # voxels
TURN = np.pi / 4
ROOM = (SIDE - SCALE * np.sqrt(20 ** 2 + 20 ** 2 + SLICES ** 2)) / 2  # voxels from the centre, along each axis


class DrawnVolumes(Drawn):
    """What was drawn by lot: digits (N, 28, 28) and the theta of each. A slice of it is the volumes of these, made when
    it is taken: so it stands for an array (N, 1, D, H, W) wherever that is read a batch at a time.
    """

    def canvas(self) -> Any:
        """The turned digits (N, 1, D, H, W), float32 from 0 to 1, made where the arrays are."""
        digits, theta = self.arrays
        extruded = np.broadcast_to(shaded(digits)[:, None, None], (len(digits), 1, SLICES, DIGIT, DIGIT))
        return spatial_transform(extruded, theta, self.transformation, self.size).data

    def part(self, chosen: slice) -> "DrawnVolumes":
        return replace(self, arrays=tuple(array[chosen] for array in self.arrays))

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, chosen: slice) -> Any:
        return self.part(chosen).canvas()


def draw(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator):
    """Turn and place the `chosen` digits, each anew: a DrawnVolumes, and the labels."""
    turns, shift = rng.uniform(-TURN, TURN, (3, len(chosen))), rng.uniform(-ROOM, ROOM, (len(chosen), 3))
    arrays = grey(images[chosen]), placed(turns, shift).astype(np.float32)
    return DrawnVolumes(Affine3d(), (SIDE,) * 3, arrays), labels[chosen]


VOLUMES = Kind("volumes", (1, SIDE, SIDE, SIDE), draw)


def lazy_test_set(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[DrawnVolumes, np.ndarray]:
    """The test set, drawn once and for all, none of it made yet: volumes, and labels (N,) int64."""
    volumes, y = draw(images, labels, np.arange(len(images)), np.random.default_rng([TEST, seed]))
    return volumes, y.astype(np.int64)


def placed(turns: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Theta (N, 3, 4) of a digit turned by `turns` (3, N) about x, y and z, about z first, which is in its own plane,
    and moved by `shift` (N, 3) voxels from the centre.

    With R the turn, the pixel q of a digit lies at p = SCALE R q + shift, so q = R^T (p - shift) / SCALE.
    """
    a, b, c = turns
    back = (rotation(0, a) @ rotation(1, b) @ rotation(2, c)).transpose(0, 2, 1) / SCALE
    theta = np.concatenate([back * ((SIDE - 1) / 2), -back @ shift[:, :, None]], axis=2)
    return theta / np.array([[RADIUS], [RADIUS], [(SLICES - 1) / 2]])


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Turns (N, 3, 3) about x, y or z (axis 0, 1 or 2), from the axis that follows it towards the one after that."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.zeros((len(angle), 3, 3))
    R[:, axis, axis] = 1
    R[:, i, i] = R[:, j, j] = np.cos(angle)
    R[:, j, i] = np.sin(angle)
    R[:, i, j] = -R[:, j, i]
    return R
