"""A GPU, or the simulator of one: its driver, its kernels, and the arithmetic that they share."""
