"""Families of transformations: each is T_theta(G) = M_theta B (paper, section 3.2).

    plane              Attention, Translation, Similarity, Affine  M 2 x 3, of 3, 2, 4 or 6 numbers; B = (x, y, 1)
                       Projective                                  M 3 x 3, of 8 numbers; divides by its last row
                       Attention3d, Affine3d                       M 3 x 4, of 4 or 12 numbers; B = (x, y, z, 1)
    thin_plate_spline  ThinPlateSpline                             M = theta, 2 x K; B smooth between K points
    piecewise_affine   PiecewiseAffine                             M = theta, 2 x K; B barycentric weights in a mesh
    learned_basis      LearnedBasis                                M = theta; B itself is trained
    displacement       Displacement                                a vector for every point, without M

`base` is what they share, and says how to write one's own; `control_points` is what the spline and the mesh share.
`fitting` finds theta from pairs of points; `pixels` leads from matrices in pixels to theta and back.
"""

from nanostn.transformations.base import Transformation
from nanostn.transformations.displacement import Displacement
from nanostn.transformations.fitting import theta_from_points
from nanostn.transformations.learned_basis import LearnedBasis
from nanostn.transformations.piecewise_affine import PiecewiseAffine
from nanostn.transformations.pixels import pixels_from_theta, theta_from_pixels
from nanostn.transformations.plane import Affine, Affine3d, Attention, Attention3d, Projective, Similarity, Translation
from nanostn.transformations.thin_plate_spline import ThinPlateSpline

__all__ = [
    "Affine", "Affine3d", "Attention", "Attention3d", "Displacement", "LearnedBasis", "PiecewiseAffine", "Projective",
    "Similarity", "ThinPlateSpline", "Transformation", "Translation", "pixels_from_theta", "theta_from_pixels",
    "theta_from_points",
]
