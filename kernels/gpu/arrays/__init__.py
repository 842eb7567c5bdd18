"""Arrays in a GPU's memory, and NumPy's functions for them."""
