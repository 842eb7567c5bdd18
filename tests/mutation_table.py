"""Which tests `tests/mutation.py` runs for a file of the engine or of the kernels that it has altered."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each file's tests, the quickest first. Not here: the command line, reports, pictures and measurements.
TESTS = {
    "nanostn/autograd.py": ["tests/test_autograd.py", "tests/test_overwrites.py", "tests/test_tensor.py"],
    "nanostn/tensor.py": ["tests/test_tensor.py", "tests/test_broadcasting.py", "tests/test_autograd.py"],
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
    "nanostn/models.py": ["tests/test_models.py"],
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
_SAMPLER = ["tests/kernels/test_sampling.py", "tests/kernels/test_sampling_schedule.py", "tests/test_sampler.py",
            "tests/test_antialias.py", "tests/test_hostile_coordinates.py"]
TESTS |= {f"kernels/{name}.py": tests for name, tests in {
    "convolution": ["tests/kernels/test_convolution.py", "tests/test_convolution.py"],
    "direct_convolution": ["tests/kernels/test_convolution.py"],
    "spectra": ["tests/kernels/test_convolution.py"],
    "windows": ["tests/kernels/test_convolution.py", "tests/kernels/test_pooling.py"],
    "coordinates": ["tests/test_grid_generator.py", "tests/test_sampler.py"],
    "division": ["tests/kernels/test_division.py", "tests/test_pooling.py"],
    "dropout": ["tests/kernels/test_dropout.py", "tests/test_layers.py"],
    "elementwise": ["tests/kernels/test_elementwise.py", "tests/test_activations.py"],
    "interpolation": ["tests/kernels/test_interpolation.py", *_SAMPLER],
    "in_place": ["tests/kernels/test_in_place.py", *_SAMPLER],
    "linear": _SAMPLER,
    "linking": ["tests/kernels/test_linking.py"],
    "losses": ["tests/test_losses.py", "tests/test_cross_entropy_options.py", "tests/test_activations.py"],
    "matmul": ["tests/kernels/test_matmul.py", "tests/test_dense.py", "tests/test_tensor.py"],
    "normalisation": ["tests/test_normalisation.py"],
    "pasting": ["tests/datasets"],
    "points": _SAMPLER,
    "pooling": ["tests/test_pooling.py", "tests/kernels/test_pooling.py"],
    "products": ["tests/kernels/test_convolution.py"],
    "sampling": [*_SAMPLER, "tests/test_large_images.py"],
    "sampling_forward": _SAMPLER,
    "sampling_gradients": _SAMPLER,
    "sampling_in_place": [*_SAMPLER, "tests/test_long_sums.py"],
    "taps": _SAMPLER,
    "tiles": ["tests/kernels/test_tiles.py", *_SAMPLER],
    "totals": ["tests/kernels/test_totals.py"],
    "updates": ["tests/kernels/test_updates.py", "tests/test_optim.py"],
    "workers": ["tests/kernels/test_workers.py", "tests/kernels/test_threads.py"],
}.items()}
KERNELS = [file for file in TESTS if file.startswith("kernels/")]
