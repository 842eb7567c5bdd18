"""Compiled kernels on disk: what names them, and that nothing but a whole file is read."""

import numpy as np
import pytest

from nanostn.kernels.compiling import caching
from nanostn.kernels.gpu import ptx_cache
from nanostn.kernels.gpu.launch import CudaKernel, all_kernels, cuda_kernel
from nanostn.kernels.sampling import conventions


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))


@pytest.fixture
def key():
    """The key of a kernel that stands in the folder of kernels, for these constants."""
    kernel = CudaKernel(next(function for function in vars(ptx_cache).values() if callable(function)
                             and getattr(function, "__module__", "") == ptx_cache.__name__), ["T* int"], None)
    yield lambda *constants: kernel.key(constants)
    all_kernels.remove(kernel)


def test_written_and_read():
    file = ptx_cache.place("topic.kernel float32", (9, 0))
    assert file.name.startswith("topic.kernel-") and ptx_cache.read(file) is None
    ptx_cache.write(file, "// PTX\n.version 8.8\n")
    assert ptx_cache.read(file) == "// PTX\n.version 8.8\n"
    assert [path.name for path in ptx_cache.folder().iterdir()] == [file.name]  # no part is left


@pytest.mark.parametrize("damage", [lambda text: text[:-1], lambda text: text.replace("8.8", "8.7"), lambda text: "",
                                    lambda text: "\n" + text])
def test_a_damaged_file_is_none(damage):
    file = ptx_cache.place("topic.kernel float32", (9, 0))
    ptx_cache.write(file, "// PTX\n.version 8.8\n")
    file.write_text(damage(file.read_text()))
    assert ptx_cache.read(file) is None
    file.write_bytes(b"\xff\xfe")
    assert ptx_cache.read(file) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    file = ptx_cache.place("topic.kernel float32", (9, 0))
    ptx_cache.write(file, "PTX")
    assert ptx_cache.read(file) is None


def test_sources_capability_and_versions_make_another_file(monkeypatch):
    first = ptx_cache.place("kernel float32", (9, 0))
    assert first == ptx_cache.place("kernel float32", (9, 0))
    others = [ptx_cache.place("kernel float64", (9, 0)), ptx_cache.place("kernel float32", (8, 0))]
    monkeypatch.setattr(ptx_cache, "source_stamp", lambda folder: "edited")
    others.append(ptx_cache.place("kernel float32", (9, 0)))
    monkeypatch.setattr(ptx_cache, "_compiler", lambda: "numba 99")
    others.append(ptx_cache.place("kernel float32", (9, 0)))
    assert len({first, *others}) == 5


def test_without_a_variable_it_is_the_users_cache(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert ptx_cache.folder() == caching.cache_directory() / "ptx"


def test_what_names_a_kernel(key):
    keys = [key(np.float32), key(np.float64), key(np.float32, 2), key(np.float32, "2"), key(np.float32, 2.0),
            key(np.float32, True), key(np.float32, None), key(np.float32, (1, 2)), key(np.float32, (1, (2,))),
            key(np.float32, conventions.half_extent)]
    assert len(set(keys)) == len(keys) and None not in keys


def test_functions_of_others_and_closures_have_no_name(key):
    assert key(np.float32, lambda x: x) is None and key(np.float32, (1, test_what_names_a_kernel)) is None
    assert key(np.float32, cuda_kernel("T*")) is None  # made by a function of the folder
    assert key(np.float32, np.int64(3)) is None and ptx_cache.place(None, (9, 0)) is None
    ptx_cache.write(None, "PTX")
    assert ptx_cache.read(None) is None
