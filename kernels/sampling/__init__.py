"""The sampler (paper, eq. 1 to 7): read `reference` first, which the other files compute fast."""

from .schedule import sample as sample
from .schedule import sample_gradients as sample_gradients
