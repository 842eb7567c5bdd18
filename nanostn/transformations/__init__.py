"""Families of transformations: each is T_theta(G) = M_theta B (paper, section 3.2).

    base                   what they share, and how to write one's own
    plane                  theta's numbers in M, B the coordinates: affine and its relatives, projective, 3D
    control_points         theta is where control points are read: the thin plate spline, and the piecewise affine mesh
    learned_basis          B itself is trained
    displacement           a vector for every point, without M
"""

from nanostn.transformations.base import Transformation
from nanostn.transformations.displacement import Displacement
from nanostn.transformations.learned_basis import LearnedBasis
from nanostn.transformations.piecewise_affine import PiecewiseAffine
from nanostn.transformations.plane import Affine, Affine3d, Attention, Attention3d, Projective, Similarity, Translation
from nanostn.transformations.thin_plate_spline import ThinPlateSpline

__all__ = [
    "Affine", "Affine3d", "Attention", "Attention3d", "Displacement", "LearnedBasis", "PiecewiseAffine", "Projective",
    "Similarity", "ThinPlateSpline", "Transformation", "Translation",
]
