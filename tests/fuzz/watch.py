"""Bounds of time and memory around one case, and what counts as a finding."""

from __future__ import annotations

import faulthandler
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from dgmppl.errors import DgmpplError, InternalError

# The time that a case may take, whatever it is; and what each byte of it adds: a spec may have a MiB, and the YAML
# reader, which is pure Python because the C one crashes on deep nesting, takes some five seconds for that.
SECONDS = 2.0
SECONDS_PER_BYTE = 10 / 2**20
# Wall time after which a case that not even a signal stops is given up with its stack; the machine may be busy.
_STUCK = 900
_MEBIBYTE = 1 << 20


class OutOfTime(BaseException):
    """Raised in the case when its processor time is over; no `except Exception` of the code under test holds it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended.

    Attributes:
        seconds: processor time.
        finding: what went wrong, with the innermost frames; None where the case was compiled or refused.
        refused: whether it was refused with diagnostics.
    """

    seconds: float
    finding: str | None
    refused: bool = False


def limit_memory(mebibytes: int) -> None:
    """Let this process grow by so much from now on; an allocation beyond raises `MemoryError`."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[0])
    limit = pages * resource.getpagesize() + mebibytes * _MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_memory() -> float:
    """The most resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def watched(case: Callable[[], None], seconds: float = SECONDS) -> Outcome:
    """Run a case. Processor time is limited, not wall time, so that a busy machine changes nothing."""
    signal.signal(signal.SIGPROF, _over)
    faulthandler.dump_traceback_later(_STUCK, exit=True)
    start = time.process_time()
    finding, refused = None, False
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A changed run is reported by a warning; NumPy leaves files that it cannot read to the garbage collector.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            case()
    except InternalError as error:
        finding = _report(error)
    except DgmpplError as error:
        refused = True
        finding = None if str(error).strip() else f"{type(error).__name__} without a message"
    except (Exception, OutOfTime) as error:
        finding = _report(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    spent = time.process_time() - start
    if finding is None and spent > seconds:
        finding = f"took {spent:.1f} s of processor time"
    return Outcome(spent, finding, refused)


def _over(_signal: int, _frame: FrameType | None) -> None:
    raise OutOfTime


def _report(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    inner = [frame for frame in frames if "fuzz" not in frame.filename][-4:]
    where = "\n".join(f"    {frame.filename}:{frame.lineno} {frame.name}" for frame in inner)
    return f"{type(error).__name__}: {str(error)[:300]}\n{where}"
