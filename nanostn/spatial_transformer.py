"""The spatial transformer as a module: localisation network, grid generator and sampler (paper, Figure 2)."""

from typing import Any

import numpy as np

from nanostn import overwrites
from nanostn.checks import argument_error, checked_size, describe
from nanostn.layers import Conv2d, Conv3d, Dense, Flatten, Sequential
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
    That of a displacement field may end in a convolution as well, with a filter for each coordinate. In a Sequential it
    is the last module; in a network of one's own the only layer that fits, or the one that is named: `regression`. That
    theta begins at the identity is checked when the CPU first computes it, unless the weights have changed.
    Transformers may follow each other, or several may look at one input. Other options: `spatial_transform`.

        theta = st.theta(U)              # to be looked at, or fed forward to the rest of the network
        V = st.transform(U, theta)       # st(U) is the two in one

    torch: affine_grid(localisation(U).view(-1, 2, 3), size), then grid_sample(U, grid), for the affine family
    """

    def __init__(self, localisation: Module, transformation: Transformation, size: tuple[int, ...],
                 mode: str | SamplingKernel = "bilinear", padding_mode: str | float = "zeros",
                 align_corners: bool = True, antialias: bool = False, flatten_depth: bool = False,
                 regression: Module | None = None):
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
        last = self._regression(name, regression)
        last.weight.data[...] = 0
        last.bias.data[...] = self._start(last)
        for parameter in (last.weight, last.bias):
            overwrites.note(parameter.data, name, parameter.path)
        # The layer's path, until theta was computed.
        self._new: str | None = next(path for path, module in localisation.named_modules() if module is last)

    def _start(self, last: Any) -> np.ndarray:
        """The bias of the last layer at which theta is the identity."""
        identity = np.ravel(self.transformation.identity())
        return identity if isinstance(last, Dense) else np.zeros(len(last.bias.data))  # of a field

    def _regression(self, name: str, named: Any) -> Any:
        """The layer that gives theta."""
        field, parameters = isinstance(self.transformation, Displacement), self.transformation.parameters

        def fits(layer: Any) -> bool:
            wanted = parameters if isinstance(layer, Dense) else self.transformation.dims
            kinds = (Dense, Conv2d, Conv3d) if field else (Dense,)
            return isinstance(layer, kinds) and layer.bias is not None and len(layer.weight.data) == wanted

        layers = [module for _, module in self.localisation.named_modules()]
        also = f", or in a convolution with {self.transformation.dims} filters" if field else ""
        ending = f"a network that ends in Dense(..., {parameters}), with a bias, for {self.transformation!r}{also}"
        if named is not None:
            if not any(named is layer for layer in layers) or not fits(named):
                raise argument_error(name, "regression", f"the layer of localisation that gives theta: {ending}",
                                     describe(named))
            return named
        if isinstance(self.localisation, Sequential):
            last = _end(self.localisation)
            if not fits(last):
                raise argument_error(name, "localisation", ending, describe(last))
            return last
        fitting = [layer for layer in layers if fits(layer)]
        if len(fitting) != 1:
            raise argument_error(name, "localisation", ending, f"one with {len(fitting)} layers that could give theta",
                                 "name the layer: regression=..." if fitting else "")
        return fitting[0]

    def theta(self, U: Tensor) -> Tensor:
        """The parameters that the localisation network finds, (N, parameters)."""
        theta = self.localisation(U)
        if self._new is not None:
            self._check_start(theta)
        return theta

    def _check_start(self, theta: Any) -> None:
        """An error where the last layer gives the identity, but theta is something else. Once, and on the CPU: a look
        at the GPU's would wait for it."""
        last: Any = dict(self.localisation.named_modules())[self._new or ""]
        self._new = None
        if self.localisation.device == "cuda":
            return
        start = self._start(last).astype(last.bias.dtype)
        if np.any(last.weight.data) or np.any(last.bias.data != start):
            return  # loaded, or trained
        identity = np.ravel(self.transformation.identity()).astype(last.bias.dtype)
        found = theta.data.reshape(len(theta.data), -1) if isinstance(theta, Tensor) else np.empty((1, 0))
        if found.shape[1] != len(identity) or np.any((found != identity) & ~np.isnan(found)):  # NaN is the image's
            raise argument_error("SpatialTransformer", "the first theta", f"the identity of {self.transformation!r}",
                                 describe(found[0] if found.size and len(identity) < 9 else theta),
                                 f"what follows {last!r} in the localisation network, an activation or another head, "
                                 "changes it: the transformer would not start as the plain network")

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


def _end(module: Any) -> Any:
    """The last module of a Sequential, and of that if it is one; a Flatten behind it changes no number."""
    if not isinstance(module, Sequential):
        return module
    behind = [part for part in module.modules if not isinstance(part, Flatten)]
    return _end(behind[-1]) if behind else module
