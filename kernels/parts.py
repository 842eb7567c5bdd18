"""Parts of kernels: functions that compiled code calls.

Numba makes machine code of every function by itself, with a wrapper for Python, also of one that is only ever inlined
into its callers; these are optimised anew with all that was inlined. Here a part is handed to its callers as the
compiler's intermediate code, and becomes machine code as a piece of a kernel, once: two thirds of the time to compile
remain, and the same loops are vectors. Called from Python, as in tests, it is compiled as Numba does it.
"""

from collections.abc import Callable
from typing import Any

from numba.core import compiler, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature


class _Library(JITCodeLibrary):
    """Intermediate code of a part and of its own parts, to be linked into those who call it."""

    def _optimize_final_module(self) -> None:
        """Its callers are."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _Code:
    """Stands for a part where Numba tells functions apart by their machine code."""


class Part(CPUDispatcher):
    """Of `part`."""

    def __init__(self, function: Callable[..., Any], **options: Any):
        super().__init__(function, locals={}, targetoptions={"nopython": True, **options})
        self._parts: dict[tuple, Any] = {}

    def get_call_template(self, args: tuple, kws: dict[str, Any]) -> tuple:
        """What a caller has to know when its types are inferred."""
        signature, args = self._compiler.fold_argument_types(args, kws)
        if tuple(args) not in self._parts:
            self._parts[tuple(args)] = self._compiled(tuple(args))
        name, known = self.py_func.__name__, [part.signature for part in self._parts.values()]
        return typing.make_concrete_template(f"CallTemplate({name})", key=name, signatures=known), signature, args, {}

    def get_overload(self, sig: Any) -> Any:
        return self._parts[normalize_signature(sig)[0]].entry_point

    def _compiled(self, args: tuple) -> Any:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        context = self.targetdescr.target_context
        part = compiler.compile_extra(
            self.targetdescr.typing_context, context, self.py_func, args, None, flags, {},
            library=_Library(context.codegen(), self.py_func.__qualname__))._replace(entry_point=_Code())
        context.insert_user_function(part.entry_point, part.fndesc, [part.library])
        return part


def part(**options: Any) -> Callable[[Callable[..., Any]], Part]:
    """njit(**options), for what other compiled functions call."""
    return lambda function: Part(function, **options)
