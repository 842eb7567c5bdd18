"""How Python functions become machine code on disk, run on all cores and call BLAS; no mathematics of networks."""
