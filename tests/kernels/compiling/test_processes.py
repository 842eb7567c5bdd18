"""Other processes and other threads: whatever way a process was started, it computes the same bits."""

import os
import subprocess
import sys

import pytest

PROGRAM = '''
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

import nanostn
from nanostn import Tensor, functional as F, nn, optim, transformations as T
from nanostn.kernels.compiling import threads


def everything(seed=0):
    """A digest of two steps of training and of operations that the network lacks, forward and back."""
    rng = np.random.default_rng(1)
    localisation = nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Dense(576, 6))
    model = nn.Sequential(nn.SpatialTransformer(localisation, T.Affine(), (28, 28)), nn.Conv2d(1, 8, 5),
                          nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(1152, 10))
    for p in model.parameters():
        p.data[...] = rng.normal(scale=0.05, size=p.shape)
    x, labels = rng.normal(size=(40, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 40)
    found = []
    for optimiser in (optim.SGD(model.parameters(), 0.1, momentum=0.9), optim.Adam(model.parameters(), 0.01)):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(Tensor(x)), labels)
        loss.backward()
        optimiser.step()
        found += [loss.data, *(p.data for p in model.parameters())]
    U = Tensor(rng.normal(size=(3, 8, 40, 31)).astype(np.float32), requires_grad=True)
    grid = Tensor(rng.uniform(-1.1, 1.1, size=(3, 29, 50, 2)).astype(np.float32), requires_grad=True)
    V = F.dropout(F.avg_pool2d(F.grid_sample(U, grid, mode="bicubic"), 2), 0.3, generator=np.random.default_rng(2))
    (V @ V.transpose(0, 1, 3, 2)).sum().backward()
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in (*found, V.data, U.grad, grid.grad))
                          ).hexdigest()


def child(run):
    """What run() gives in a process that os.fork starts."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(280)  # rather than to hang
        os.write(writer, str(run()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return answer


def pool(method, kind):
    context = multiprocessing.get_context(method)
    if kind == "Pool":
        with context.Pool(2) as workers:
            return workers.map(everything, range(3))
    with ProcessPoolExecutor(2, mp_context=context) as workers:
        return list(workers.map(everything, range(3)))


def limits():
    """In a forked process: one thread, and no more can be asked for."""
    assert threads.get_threads() == 1
    nanostn.set_threads(1)
    try:
        nanostn.set_threads(2)
    except ValueError as error:
        return error


def fork_amid(pause):
    """Processes forked while other threads compute: these hold BLAS to one thread, and locks."""
    numbers = [library.get_num_threads() for library in threads.blas_libraries()]
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            everything()

    def look():
        # the kernels of other threads have not come along, so BLAS has its threads again
        return [library.get_num_threads() for library in threads.blas_libraries()] == numbers and everything()

    with ThreadPoolExecutor(3) as others:
        for _ in range(3):
            others.submit(compute)
        found = []
        for _ in range(12):
            stop.wait(pause)
            found.append(child(look))
        stop.set()
    return found


def fork_while_held(lock):
    """A process forked while another thread has a lock."""
    held, pause = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            pause.wait(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    found = child(everything)
    holder.join()
    return found


if __name__ == "__main__":
    way, first = sys.argv[1], sys.argv[2] == "kernels first"
    before = [everything()] if first else []
    if way == "child of a child":
        found = [child(lambda: child(everything))]
    elif way == "threads":
        with ThreadPoolExecutor(4) as workers:
            found = list(workers.map(everything, range(8)))
    elif way == "limits":
        print(child(limits) if first else child(threads.get_threads))
        found = []
    elif way == "held":
        # another thread compiles, or is about to hold BLAS to one thread
        found = [fork_while_held(lock) for lock in (threads.global_compiler_lock, threads._lock)]
    elif way == "amid":
        found = fork_amid(0.01)
    else:
        found = pool(*way.split())
    print(len({*before, *found, everything()}))
'''


def run(tmp_path, way, first=True, **settings):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_NUM_THREADS": "2", **settings}
    done = subprocess.run([sys.executable, program, way, "kernels first" if first else ""], env=environment, text=True,
                          capture_output=True, timeout=400)
    assert done.returncode == 0 and "Terminating" not in done.stderr, done.stderr
    return done.stdout.split("\n")


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("way", ["fork Pool", "fork Executor", "child of a child"])
def test_a_forked_process_computes_the_same_bits(tmp_path, way, first):
    assert run(tmp_path, way, first) == ["1", ""]


@pytest.mark.parametrize("way", ["spawn Pool", "forkserver Executor"])
def test_the_other_ways_to_start_one(tmp_path, way):
    if way.startswith("forkserver") and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    assert run(tmp_path, way) == ["1", ""]


@forks
def test_forked_amid_the_work_of_threads(tmp_path):
    assert run(tmp_path, "amid") == ["1", ""]


@forks
def test_forked_while_another_thread_holds_locks(tmp_path):
    assert run(tmp_path, "held", first=False) == ["1", ""]


@forks
def test_threads_that_a_forked_process_has(tmp_path):
    said, *same = run(tmp_path, "limits")
    assert said.startswith("set_threads: n should be an integer from 1 to 1, received 2; this process was forked after")
    assert "spawn" in said and same == ["1", ""]
    assert run(tmp_path, "limits", first=False) == ["2", "1", ""]  # nothing had run: it starts threads of its own


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_threads_that_compute_at_the_same_time(tmp_path, layer):
    """Numba's own pool, which serves where there is no OpenMP, ends a process of which two threads call it."""
    assert run(tmp_path, "threads", NUMBA_THREADING_LAYER=layer) == ["1", ""]


@forks
def test_a_forked_process_with_the_pool_of_numba(tmp_path):
    assert run(tmp_path, "amid", NUMBA_THREADING_LAYER="workqueue") == ["1", ""]
