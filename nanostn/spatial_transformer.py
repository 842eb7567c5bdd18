"""The spatial transformer as a module: localisation network, grid generator and sampler (paper, Figure 2)."""

import numpy as np

from nanostn.checks import argument_error, describe
from nanostn.grid_generator import checked_size
from nanostn.layers import Dense
from nanostn.module import Module
from nanostn.sampler import spatial_transform
from nanostn.tensor import Tensor
from nanostn.transformations import Transformation


class SpatialTransformer(Module):
    """V = sampler(U, T_theta(G)) with theta = localisation(U); paper, section 3.

    U (N, C, H, W) -> V (N, C, H', W'), `size` = (H', W'), larger or smaller than the input. `localisation` is any
    module that ends in a Dense layer with as many outputs as the transformation has parameters; that layer starts with
    zero weights and the identity as its bias, so a new transformer passes the image on (and training starts from the
    plain network). Transformers may follow each other, or several may look at one input.

        theta = st.theta(U)              # to be looked at, or fed forward to the rest of the network
        V = st.transform(U, theta)       # st(U) is the two in one

    torch: affine_grid(localisation(U).view(-1, 2, 3), size), then grid_sample(U, grid), for the affine family
    """

    def __init__(self, localisation: Module, transformation: Transformation, size: tuple[int, int],
                 mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = True):
        self.localisation = localisation
        self.transformation = transformation
        self.size = checked_size("SpatialTransformer", size)
        self.mode, self.padding_mode, self.align_corners = mode, padding_mode, align_corners
        dense = [module for _, module in localisation.named_modules() if isinstance(module, Dense)]
        wanted = transformation.parameters
        last = dense[-1] if dense else None
        if last is None or last.bias is None or last.weight.shape[0] != wanted:
            raise argument_error("SpatialTransformer", "localisation",
                                 f"a network that ends in Dense(..., {wanted}), with a bias, for {transformation!r}",
                                 describe(last or localisation))
        last.weight.data[...] = 0
        last.bias.data[...] = np.ravel(transformation.identity())

    def theta(self, U: Tensor) -> Tensor:
        """The parameters that the localisation network finds, (N, parameters)."""
        return self.localisation(U)

    def transform(self, U: Tensor, theta: Tensor) -> Tensor:
        """U warped by theta, without a localisation network."""
        return spatial_transform(U, theta, self.transformation, self.size, mode=self.mode,
                                 padding_mode=self.padding_mode, align_corners=self.align_corners)

    def forward(self, U: Tensor) -> Tensor:
        return self.transform(U, self.theta(U))

    def __repr__(self) -> str:
        head = f"SpatialTransformer({self.transformation!r}, size={self.size}, mode={self.mode!r}"
        inner = repr(self.localisation).replace("\n", "\n  ")
        return f"{head}, padding_mode={self.padding_mode!r},\n  (localisation): {inner}\n)"
