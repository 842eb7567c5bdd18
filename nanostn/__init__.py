"""nanostn: Spatial Transformer Networks (Jaderberg et al. 2015) from scratch on NumPy and Numba.

    nanostn.Tensor, no_grad, gradcheck    the engine and its checker
    nanostn.functional                    operations, the sampler among them
    nanostn.SamplingKernel                a sampling kernel k(x) of one's own
    nanostn.nn, optim, transformations    layers, optimisers, families of transformations
    nanostn.save, load                    HDF5 files
    nanostn.set_threads                   how many threads the kernels use
"""

from pathlib import Path as _Path

# In a checkout `kernels/` and `datasets/` lie beside this folder, in an installed copy inside it.
_here = _Path(__file__).resolve().parent
if not (_here / "kernels").is_dir() and (_here.parent / "kernels" / "__init__.py").is_file():
    __path__.append(str(_here.parent))

from nanostn import functional, nn, optim, transformations
from nanostn._version import version as __version__
from nanostn.autograd import no_grad
from nanostn.checkpoints import load, save
from nanostn.gradcheck import GradientError, gradcheck
from nanostn.kernels.compiling.threads import set_threads
from nanostn.sampler import SamplingKernel
from nanostn.tensor import Tensor

__all__ = [
    "GradientError", "SamplingKernel", "Tensor", "__version__", "functional", "gradcheck", "load", "nn", "no_grad",
    "optim", "save", "set_threads", "transformations",
]
