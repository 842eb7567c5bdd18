"""Kernels: arrays in, arrays out. They know no tensors and no gradients, and import nothing but each other."""

from .caching import watch_all_sources

watch_all_sources()  # before any function of this folder is declared
