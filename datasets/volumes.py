"""MNIST in three dimensions (paper, A.3): a digit extruded along the depth, turned and placed at random in a volume.

    thickness   14 voxels: two thirds of a digit's 20, so that a digit seen askew hides its own strokes
    turns       within 45 degrees about each of the three axes, as RTS has it about one: by 60 degrees at most the digit
                leans back, so all of it is seen from the front; but its back is then up to 12 voxels away from its
                front, four times a stroke, and a plain sum over the depth is a smear
    place       anywhere in 60 x 60 x 60 where the box of a digit, 20 x 20 x 14, however it is turned, lies inside

The paper gives the size of the volume and none of these. Conventions are those of `distortions.py`: every theta is the
inverse of what is drawn by lot, and x points right, y down and z away from the viewer. A volume takes 0.86 MB, so none
is kept, not of a test set either: what was drawn for it is, and makes the volumes a batch at a time.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nanostn.sampler import spatial_transform
from nanostn.transformations import Affine3d

from .batches import TEST
from .distortions import DIGIT, RADIUS, Drawn, Kind, grey, shaded

SIDE, THICKNESS = 60, 14      # voxels
BOX = 42                      # the space diagonal of an extruded image, 28 x 28 x 14: it holds the digit however turned
TURN = np.pi / 4
ROOM = (SIDE - np.ceil(np.sqrt(20 ** 2 + 20 ** 2 + THICKNESS ** 2))) / 2  # voxels from the centre to the last place


@dataclass
class DrawnVolumes(Drawn):
    """What was drawn by lot, arrays of digits and theta, and the box where each digit is. A slice of it is the volumes
    of these, made when it is taken: so it stands for an array (N, 1, D, H, W) wherever that is read a batch at a time.
    """

    corners: np.ndarray = field(kw_only=True)  # (N, 3), x, y, z of each box's first voxel; they stay on the CPU

    def canvas(self) -> Any:
        """The turned digits (N, 1, D, H, W), float32 from 0 to 1, made where the arrays are."""
        digits, theta = self.arrays
        extruded = np.broadcast_to(shaded(digits)[:, None, None], (len(digits), 1, THICKNESS, DIGIT, DIGIT))
        boxes = spatial_transform(extruded, theta, self.transformation, (BOX,) * 3).data
        V = np.zeros((len(digits), 1, *self.size), np.float32, like=boxes)
        for n, (x, y, z) in enumerate(self.corners):
            V[n, 0, z:z + BOX, y:y + BOX, x:x + BOX] = boxes[n, 0]
        return V

    def part(self, chosen: slice) -> "DrawnVolumes":
        arrays = tuple(array[chosen] for array in self.arrays)
        return replace(self, arrays=arrays, corners=self.corners[chosen])

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, chosen: slice) -> Any:
        return self.part(chosen).canvas()


def draw(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator):
    """Turn and place the `chosen` digits, each anew: a DrawnVolumes, and the labels."""
    turns = rng.uniform(-TURN, TURN, (3, len(chosen)))
    theta, corners = placed(turns, rng.uniform(-ROOM, ROOM, (len(chosen), 3)))
    return DrawnVolumes(Affine3d(), (SIDE,) * 3, (grey(images[chosen]), theta), corners=corners), labels[chosen]


VOLUMES = Kind("volumes", (1, SIDE, SIDE, SIDE), draw)


def lazy_test_set(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[DrawnVolumes, np.ndarray]:
    """The test set, drawn once and for all, none of it made yet: volumes, and labels (N,) int64."""
    volumes, y = draw(images, labels, np.arange(len(images)), np.random.default_rng([TEST, seed]))
    return volumes, y.astype(np.int64)


def placed(turns: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theta (N, 3, 4) in a box, and the corner (N, 3) of that, of a digit that is turned by `turns` (3, N) about x, y
    and z, in its own plane first, and moved by `shift` (N, 3) voxels from the centre of the volume.

    With R the turn, a digit's voxel q lies at p = R q + shift, so q = R^T (p - shift).
    """
    corner = np.clip(np.rint(shift + (SIDE - BOX) / 2), 0, SIDE - BOX)
    within = shift - (corner - (SIDE - BOX) / 2)             # from the centre of the box
    a, b, c = turns
    back = (rotation(0, a) @ rotation(1, b) @ rotation(2, c)).transpose(0, 2, 1)
    theta = np.concatenate([back * ((BOX - 1) / 2), -back @ within[:, :, None]], axis=2)
    extent = np.array([[RADIUS], [RADIUS], [(THICKNESS - 1) / 2]])
    return (theta / extent).astype(np.float32), corner.astype(int)


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Turns (N, 3, 3) about x, y or z (axis 0, 1 or 2), from the axis that follows it towards the one after that."""
    R = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R[:, axis, axis] = 1
    R[:, i, i] = R[:, j, j] = np.cos(angle)
    R[:, j, i] = np.sin(angle)
    R[:, i, j] = -R[:, j, i]
    return R
