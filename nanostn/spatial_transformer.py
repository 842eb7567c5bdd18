"""The spatial transformer as a module: localisation network, grid generator and sampler (paper, Figure 2)."""

import numpy as np

from nanostn.checks import argument_error, checked_size, describe
from nanostn.layers import Conv2d, Conv3d, Dense
from nanostn.module import Module
from nanostn.sampler import SamplingKernel, checked_options, spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Displacement, Transformation


class SpatialTransformer(Module):
    """V = sampler(U, T_theta(G)) with theta = localisation(U); paper, section 3.

    U (N, C, H, W) -> V (N, C, H', W'), `size` = (H', W'), larger or smaller than the input; U (N, C, D, H, W) -> V (N,
    C, D', H', W') for a family in 3D, or its sum over D' with `flatten_depth`. `localisation` is any module that ends
    in a Dense layer with as many outputs as the transformation has parameters; that layer starts with zero weights and
    the identity as its bias, so a new transformer passes the image on (and training starts from the plain network).
    That of a displacement field may end in a convolution as well, with a filter for each coordinate. Transformers may
    follow each other, or several may look at one input. Other options: `spatial_transform`.

        theta = st.theta(U)              # to be looked at, or fed forward to the rest of the network
        V = st.transform(U, theta)       # st(U) is the two in one

    torch: affine_grid(localisation(U).view(-1, 2, 3), size), then grid_sample(U, grid), for the affine family
    """

    def __init__(self, localisation: Module, transformation: Transformation, size: tuple[int, ...],
                 mode: str | SamplingKernel = "bilinear", padding_mode: str | float = "zeros",
                 align_corners: bool = True, antialias: bool = False, flatten_depth: bool = False):
        name = "SpatialTransformer"
        if not isinstance(localisation, Module):
            raise argument_error(name, "localisation", "a module", describe(localisation))
        if not isinstance(transformation, Transformation):
            raise argument_error(name, "transformation", "a family such as Affine()", describe(transformation))
        self.localisation = localisation
        self.transformation = transformation
        self.size = checked_size(name, size, transformation.dims)
        own = getattr(transformation, "size", self.size)
        if own != self.size:
            raise argument_error(name, "size", own, self.size, f"{transformation!r} was made for these points")
        checked_options(name, transformation.dims, mode, padding_mode, align_corners, flatten_depth)
        self.mode, self.padding_mode, self.align_corners = mode, padding_mode, align_corners
        self.antialias, self.flatten_depth = antialias, flatten_depth
        identity = np.ravel(transformation.identity())
        layers = [module for _, module in localisation.named_modules() if isinstance(module, Dense | Conv2d | Conv3d)]
        last = layers[-1] if layers else None
        field = isinstance(transformation, Displacement)
        wanted = transformation.dims if field and not isinstance(last, Dense) else len(identity)
        if last is None or last.bias is None or len(last.weight) != wanted or not (field or isinstance(last, Dense)):
            also = f", or in a convolution with {transformation.dims} filters" if field else ""
            raise argument_error(name, "localisation", f"a network that ends in Dense(..., {len(identity)}), with a "
                                 f"bias, for {transformation!r}{also}", describe(last or localisation))
        last.weight.data[...] = 0
        last.bias.data[...] = 0 if field else identity

    def theta(self, U: Tensor) -> Tensor:
        """The parameters that the localisation network finds, (N, parameters)."""
        return self.localisation(U)

    def transform(self, U: Tensor, theta: Tensor) -> Tensor:
        """U warped by theta, without a localisation network."""
        return spatial_transform(U, theta, self.transformation, self.size, self.mode, self.padding_mode,
                                 self.align_corners, self.antialias, self.flatten_depth)

    def forward(self, U: Tensor) -> Tensor:
        return self.transform(U, self.theta(U))

    def __repr__(self) -> str:
        options = {"padding_mode": ("zeros", self.padding_mode), "align_corners": (True, self.align_corners),
                   "antialias": (False, self.antialias), "flatten_depth": (False, self.flatten_depth)}
        changed = "".join(f", {name}={value!r}" for name, (usual, value) in options.items()
                          if value != usual or name == "padding_mode")
        inner = repr(self.localisation).replace("\n", "\n  ")
        return (f"SpatialTransformer({self.transformation!r}, size={self.size}, mode={self.mode!r}{changed},\n"
                f"  (localisation): {inner}\n)")
