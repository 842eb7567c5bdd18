"""The paper's networks, a file for each experiment's; those of digits by the names that they have here.

    build("st-cnn-affine", size=42, seed=0)         a classifier of 42 x 42 digits (`digits.py`)
    house_numbers.build("st-cnn-multi", side=64)    and so in `house_numbers`, `traffic_signs` and `birds`
    inception.Inception()                           what birds are described by
"""

from .digits import (
    FAMILIES,
    MODELS,
    VARIANTS,
    Parallel,
    TransformedClassifier,
    build,
    build_lasagne,
    cnn,
    cnn_localisation,
    cnn_parameters,
    fcn,
)

__all__ = ["FAMILIES", "MODELS", "VARIANTS", "Parallel", "TransformedClassifier", "build", "build_lasagne", "cnn",
           "cnn_localisation", "cnn_parameters", "fcn"]
