"""`nanostn bench`: `run` on a CPU, `gpu` on a GPU; each times `our_side` and `torch_side` at what `cases` says."""
