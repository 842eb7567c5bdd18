"""A kernel cannot be handed a list: it takes eight of each, and a number says which of them a block has to do with."""

from .launch import device_function

TOGETHER = 8


def chosen():
    """For kernels: `of(k, a, a1, ..., a7)`, the one of number k."""
    def of(k, a, a1, a2, a3, a4, a5, a6, a7):
        if k == 1:
            a = a1
        elif k == 2:
            a = a2
        elif k == 3:
            a = a3
        elif k == 4:
            a = a4
        elif k == 5:
            a = a5
        elif k == 6:
            a = a6
        elif k == 7:
            a = a7
        return a

    return device_function(of)
