"""What Numba's compiler does meanwhile: nothing, where all is compiled or found on disk."""

from contextlib import contextmanager

from numba.core import event


@contextmanager
def passes_of_the_compiler():
    passes = []

    class Listener(event.Listener):
        def on_start(self, compiling):
            passes.append(compiling.data["name"])

        def on_end(self, compiled):
            pass

    with event.install_listener("numba:run_pass", Listener()):
        yield passes
