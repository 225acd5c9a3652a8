"""Run an iterator in a thread, a bounded number of items ahead, without ever hanging."""

import queue
import threading
from collections.abc import Iterator
from typing import Any


class ReadAhead:
    """Runs an iterator in a thread, a bounded number of items ahead; always joined by `stop`."""

    def __init__(self, items: Iterator[Any], read_ahead: int) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=read_ahead)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hdrvideo-decode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # BaseException: whatever ends this thread must reach the consumer, or it waits for ever.
        end: tuple[bool, Any] = (False, None)
        try:
            for item in self._items:
                if not self._put((True, item)):
                    break
        except BaseException as error:
            end = (False, error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._put(end)

    def _put(self, entry: tuple[bool, Any]) -> bool:
        while not self._stopping.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def get(self) -> tuple[bool, Any]:
        """Wait for the next entry: (True, item), or (False, error or None) at the end."""
        while not self._stopping.is_set():
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
        return (False, None)

    def stop(self) -> None:
        """End the thread and wait for it; may be called twice."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
