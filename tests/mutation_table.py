"""Which tests `tests/mutation.py` runs for a file of the engine or of the kernels that it has altered."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each file's tests, the quickest first. Not here: the command line, reports, pictures and measurements.
TESTS = {
    "nanostn/autograd.py": ["tests/test_autograd.py", "tests/test_overwrites.py", "tests/test_tensor.py"],
    **dict.fromkeys([f"nanostn/{name}.py" for name in ("arithmetic", "arrays", "entries", "tensor", "variable")],
                    ["tests/test_tensor.py", "tests/test_broadcasting.py", "tests/test_autograd.py"]),
    "nanostn/elementwise.py": ["tests/test_elementwise.py"],
    "nanostn/reductions.py": ["tests/test_reductions.py"],
    "nanostn/arranging.py": ["tests/test_arranging.py"],
    "nanostn/overwrites.py": ["tests/test_overwrites.py"],
    "nanostn/module.py": ["tests/test_module.py", "tests/test_layers.py"],
    "nanostn/optimisers.py": ["tests/test_optim.py"],
    "nanostn/schedules.py": ["tests/test_optim.py"],
    "nanostn/activations.py": ["tests/test_activations.py"],
    "nanostn/losses.py": ["tests/test_losses.py", "tests/test_cross_entropy_options.py"],
    "nanostn/normalisation.py": ["tests/test_normalisation.py"],
    "nanostn/pooling.py": ["tests/test_pooling.py"],
    "nanostn/convolution.py": ["tests/test_convolution.py"],
    "nanostn/dense.py": ["tests/test_dense.py"],
    "nanostn/finite.py": ["tests/test_hostile_coordinates.py", "tests/test_training.py"],
    "nanostn/sampler.py": ["tests/test_sampler_errors.py", "tests/test_sampler.py", "tests/test_antialias.py"],
    "nanostn/grid_generator.py": ["tests/test_grid_generator.py"],
    "nanostn/spline.py": ["tests/test_spline.py"],
    "nanostn/gradcheck.py": ["tests/test_gradcheck.py"],
    "nanostn/checks.py": ["tests/test_checks.py", "tests/test_grid_generator.py", "tests/test_pooling.py"],
    "nanostn/spatial_transformer.py": ["tests/test_spatial_transformer.py"],
    "nanostn/layers.py": ["tests/test_layers.py", "tests/test_module.py"],
    "nanostn/initialisers.py": ["tests/test_layers.py"],
    "nanostn/models/digits.py": ["tests/test_models.py"],
    "nanostn/checkpoints.py": ["tests/test_checkpoints.py"],
    "nanostn/training.py": ["tests/test_training.py"],
    "nanostn/runs.py": ["tests/test_training.py", "tests/test_experiments.py"],
    **{path.relative_to(ROOT).as_posix(): ["tests/test_transformations.py", "tests/test_grid_generator.py",
                                           "tests/test_piecewise_affine.py", "tests/test_displacement.py",
                                           "tests/test_learned_basis.py"]
       for path in sorted((ROOT / "nanostn/transformations").glob("*.py"))},
    "nanostn/transformations/fitting.py": ["tests/test_fitting.py"],
    "nanostn/transformations/pixels.py": ["tests/test_pixels.py"],
}
ENGINE = list(TESTS)
_SAMPLER = ["tests/kernels/sampling/test_sampling.py", "tests/kernels/sampling/test_schedule.py",
            "tests/test_sampler.py", "tests/test_antialias.py", "tests/test_hostile_coordinates.py"]
TESTS |= {f"kernels/{name}.py": tests for name, tests in {
    "convolution/__init__": ["tests/kernels/convolution/test_convolution.py", "tests/test_convolution.py"],
    "convolution/direct": ["tests/kernels/convolution/test_convolution.py"],
    "convolution/spectra": ["tests/kernels/convolution/test_convolution.py"],
    "convolution/windows": ["tests/kernels/convolution/test_convolution.py", "tests/kernels/networks/test_pooling.py"],
    "sampling/conventions": ["tests/test_grid_generator.py", "tests/test_sampler.py"],
    "gpu/extremes": ["tests/test_pooling.py", "tests/kernels/networks/test_pooling.py"],
    "gpu/integer_division": ["tests/kernels/gpu/test_integer_division.py", "tests/test_pooling.py"],
    "networks/dropout": ["tests/kernels/networks/test_dropout.py", "tests/test_layers.py"],
    "networks/rectifier": ["tests/kernels/networks/test_rectifier.py", "tests/test_activations.py"],
    "sampling/interpolation": ["tests/kernels/sampling/test_interpolation.py", *_SAMPLER],
    "sampling/in_place": ["tests/kernels/sampling/test_in_place.py", *_SAMPLER],
    "sampling/bilinear": _SAMPLER,
    "compiling/linking": ["tests/kernels/compiling/test_linking.py"],
    "networks/losses": ["tests/test_losses.py", "tests/test_cross_entropy_options.py", "tests/test_activations.py"],
    "products/matmul": ["tests/kernels/products/test_matmul.py", "tests/test_dense.py", "tests/test_tensor.py"],
    "networks/normalisation": ["tests/test_normalisation.py"],
    "networks/clutter": ["tests/datasets"],
    "sampling/source_points": _SAMPLER,
    "networks/pooling": ["tests/test_pooling.py", "tests/kernels/networks/test_pooling.py"],
    "products/openblas": ["tests/kernels/convolution/test_convolution.py"],
    "sampling/schedule": [*_SAMPLER, "tests/test_large_images.py"],
    "sampling/forward": _SAMPLER,
    "sampling/gradients": _SAMPLER,
    "sampling/in_place_schedule": [*_SAMPLER, "tests/test_long_sums.py"],
    "sampling/separable": _SAMPLER,
    "sampling/tiles": ["tests/kernels/sampling/test_tiles.py", *_SAMPLER],
    "gpu/arrays/totals": ["tests/kernels/gpu/test_totals.py"],
    "networks/updates": ["tests/kernels/networks/test_updates.py", "tests/test_optim.py"],
    "compiling/parallel": ["tests/kernels/compiling/test_parallel.py", "tests/kernels/compiling/test_threads.py"],
}.items()}
KERNELS = [file for file in TESTS if file.startswith("kernels/")]
