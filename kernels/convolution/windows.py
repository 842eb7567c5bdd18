"""How windows lie on an axis: for convolution and pooling."""

from ..compiling.linking import linked
from ..gpu.integer_division import split


def output_size(size, kernel, stride, padding, ceil_mode=False):
    """The number of windows along an axis; with `ceil_mode` one more where entries are left, if it begins among them.
    """
    count, left = divmod(size + 2 * padding - kernel, stride)
    return count + 1 + int(ceil_mode and left > 0 and (count + 1) * stride < size + padding)


@linked(nogil=True)
def pairs(geometry):
    """Window, stride and padding."""
    return (geometry[0, 0], geometry[0, 1]), (geometry[1, 0], geometry[1, 1]), (geometry[2, 0], geometry[2, 1])


@linked(nogil=True)
def columns_inside(j, W, W_out, stride, padding):
    """The range of windows q whose column j, q stride + j - padding, lies inside the image."""
    left = min(W_out, max(0, (padding - j + stride - 1) // stride))
    return left, max(left, min(W_out, (W - 1 + padding - j) // stride + 1))


@linked(nogil=True)
def inside(start, kernel, size):
    """The offsets of a window that begins at `start` which lie inside the image."""
    return max(0, -start), min(kernel, size - start)


@linked(nogil=True)
def halves(window, stride, padding, image, output):
    """Whether windows are 2 x 2 side by side, all of them whole, by far the commonest: rows of those become vectors.

    `image` and `output` are the shapes on either side of them.
    """
    whole = 2 * output[2] <= image[2] and 2 * output[3] <= image[3]
    return whole and window == (2, 2) and stride == (2, 2) and padding == (0, 0)


@linked(nogil=True)
def windows_over(h, kernel, stride, padding, count):
    """The range of windows along an axis that contain row h."""
    first, _ = split(max(0, h + padding - kernel + stride), stride)
    last, _ = split(h + padding, stride)
    return first, min(count, last + 1)
