"""Kernels: arrays in, arrays out. They know no tensors and no gradients, and import nothing but each other."""

from .caching import watch_all_sources
from .memory import keep_freed_memory

watch_all_sources()  # before any function of this folder is declared
keep_freed_memory()
