"""Running code that nobody need trust to end, to be silent or to leave its inputs alone."""

import _thread
import contextlib
import copy
import dis
import inspect
import io
import linecache
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

TIME_LIMIT = 10.0  # seconds for one call of an attempt


class TooLongError(TimeoutError):
    """Raised in place of a result that does not come."""


@dataclass(frozen=True)
class Outcome:
    """What one call came to: a value, or an error; and whether it changed its inputs, or printed."""

    value: Any = None
    error: BaseException | None = None
    line: str = ""  # the learner's line in which the error arose
    inputs_after: tuple[Any, ...] = ()
    printed: str = ""


def run(function: Callable[..., Any], inputs: tuple[Any, ...]) -> Outcome:
    """Call a learner's function on copies of the inputs; errors come back as values, hanging loops too."""
    inputs = copy.deepcopy(inputs)
    output = io.StringIO()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            value = within(TIME_LIMIT, lambda: function(*inputs))
    except (Exception, SystemExit) as error:
        return Outcome(error=error, line=_line_of(function, error), printed=output.getvalue())
    finally:  # an attempt may have changed what everything else relies on
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
    return Outcome(value, inputs_after=inputs, printed=output.getvalue())


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what the function returns; raise TooLongError when it takes longer.

    A loop in Python is interrupted. One long call into a library is not, until it returns, and neither is
    a loop that catches every exception. Outside of the main thread there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    lock, state = threading.Lock(), {"ended": False, "late": False}

    def interrupt() -> None:
        with lock:
            if not state["ended"]:
                state["late"] = True
                _thread.interrupt_main()

    # A process that runs in the background may ignore interrupts: here it must not.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        value = function()
        with lock:
            state["ended"] = True
        if state["late"]:
            time.sleep(1)  # the interrupt is on its way, and must not hit what comes afterwards
        return value
    except KeyboardInterrupt:
        if state["late"]:
            raise TooLongError(f"not done after {seconds:.0f} seconds") from None
        raise
    finally:
        state["ended"] = True
        timer.cancel()
        signal.signal(signal.SIGINT, signal.SIG_DFL if usual is None else usual)


def is_untouched(function: Any) -> bool:
    """Return whether a function's body is nothing but `...`, `pass`, `return ...` or a docstring."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    does_nothing = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    constants = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= does_nothing and set(constants) <= {None, ...}


def _line_of(function: Callable[..., Any], error: BaseException) -> str:
    try:
        file = inspect.unwrap(function).__code__.co_filename
    except AttributeError:
        return ""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next
    return line
