"""Functions that kernels call: linked into them as the compiler's intermediate code.

Numba makes machine code of every function by itself, with a wrapper for Python, also of one that is only ever called
from compiled code; and optimises it anew with all its callers. Here it becomes machine code as a piece of a kernel,
once: seven tenths of the time to compile remain, and the same loops are vectors. Called from Python, as in tests, it
is compiled as Numba does it.
"""

from collections.abc import Callable
from typing import Any

from numba.core import compiler, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher
from numba.core.types.misc import unliteral


class _Intermediate(JITCodeLibrary):
    """The code of a function and of those that it calls, before it is optimised as a whole; no machine code."""

    def _optimize_final_module(self) -> None:
        """Its callers are."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _Name:
    """Numba tells compiled functions apart by the object that Python would call: of a linked one there is none."""


class Linked(CPUDispatcher):
    """A function that `linked` declares, with its forms: one for each combination of types."""

    def __init__(self, function: Callable[..., Any], **options: Any):
        super().__init__(function, locals={}, targetoptions={"nopython": True, **options})
        self._forms: dict[tuple, Any] = {}

    def get_call_template(self, args: tuple, kws: dict[str, Any]) -> tuple:
        """What a caller has to know when its types are inferred. A constant is one of the numbers of its type."""
        signature, args = self._compiler.fold_argument_types(args, kws)
        args = tuple(map(unliteral, args))
        if args not in self._forms:
            self._forms[args] = self._form(args)
        name, known = self.py_func.__name__, [form.signature for form in self._forms.values()]
        return typing.make_concrete_template(f"CallTemplate({name})", key=name, signatures=known), signature, args, {}

    def get_overload(self, sig: tuple) -> Any:
        return self._forms[sig].entry_point  # of these arguments' types: so Numba asks for what it will call

    def _form(self, args: tuple) -> Any:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        context = self.targetdescr.target_context
        library = _Intermediate(context.codegen(), self.py_func.__qualname__)
        form = compiler.compile_extra(self.targetdescr.typing_context, context, self.py_func, args, None, flags, {},
                                      library)._replace(entry_point=_Name())
        context.insert_user_function(form.entry_point, form.fndesc, [form.library])
        return form


def linked(**options: Any) -> Callable[[Callable[..., Any]], Linked]:
    """njit(**options), for what other compiled functions call."""
    return lambda function: Linked(function, **options)
