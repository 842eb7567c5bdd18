"""Kernels: arrays in, arrays out. They know no tensors and no gradients, and import nothing of nanostn but each other."""
