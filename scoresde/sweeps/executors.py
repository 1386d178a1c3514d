"""Cells here, or in processes of their own."""

import os
import sys
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

__all__ = ["computed"]

_AHEAD = 4  # cells per worker that are handed out before they are needed
_BROKEN = (
    "workers: a process of the sweep ended before its cell was done: out of memory, a crash of compiled code, or a script that starts its sweep "
    'again when it is imported; put that under if __name__ == "__main__":, or use workers=1'
)


def computed(identity, cells, workers):
    """(cell, the JSON text of its value), as they are done. What a cell raises is raised after the cells under way are done and yielded."""
    workers = min(workers, len(cells))
    if workers <= 1:
        for cell in cells:
            yield cell, cell.run(identity)
        return
    _check_main(identity)
    # fresh processes: a fork would copy locks that threads of this one may hold
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_share_cores, initargs=(workers,))
    waiting, running, failed = iter(cells), {}, None
    try:
        while True:
            try:
                while failed is None and len(running) < _AHEAD * workers and (cell := next(waiting, None)) is not None:
                    running[pool.submit(cell.run, identity)] = cell
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell = running.pop(future)
                    if future.exception() is None:
                        yield cell, future.result()
                    else:
                        failed = failed or future.exception()
            except BrokenProcessPool as error:  # from submit
                failed = failed or error
            if failed is not None:
                running = {future: cell for future, cell in running.items() if not future.cancel()}
        if isinstance(failed, BrokenProcessPool):
            raise RuntimeError(_BROKEN) from failed
        if failed is not None:
            raise failed
    finally:
        pool.shutdown(cancel_futures=True)


def _check_main(identity):
    """A function typed in, or read from standard input, cannot be imported by another process."""
    if identity.function.__module__ == "__main__" and not os.path.exists(getattr(sys.modules["__main__"], "__file__", "")):
        raise ValueError(
            f"workers: got more than 1 with {identity.name} from a session without a file, allowed is 1; write the function into a module"
        )


def _share_cores(workers):
    """In a new process: threads of the compiled loops, unless the user has said how many. Their results do not depend on it."""
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
