"""How windows lie on an axis: for convolution and pooling."""

from ..compiling.linking import linked


def output_size(size, kernel, stride, padding):
    """The number of windows along an axis."""
    return (size + 2 * padding - kernel) // stride + 1


@linked(nogil=True)
def pairs(geometry):
    """Window, stride and padding."""
    return (geometry[0, 0], geometry[0, 1]), (geometry[1, 0], geometry[1, 1]), (geometry[2, 0], geometry[2, 1])


@linked(nogil=True)
def columns_inside(j, W, W_out, stride, padding):
    """The range of windows q whose column j, q stride + j - padding, lies inside the image."""
    left = min(W_out, max(0, (padding - j + stride - 1) // stride))
    return left, max(left, min(W_out, (W - 1 + padding - j) // stride + 1))
