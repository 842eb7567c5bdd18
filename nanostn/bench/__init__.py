"""`nanostn bench`: `run` on a CPU, `gpu` on a GPU; both time `our_side` and `torch_side`, which do what `cases` says."""
