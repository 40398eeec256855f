"""How far long work is, on stderr: a bar on a terminal, else a line every half minute."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
SECONDS = 30.0


@dataclass(eq=False)
class _Work:
    """Something that takes long. done: finished items, of `total` where that is known."""

    label: str
    unit: str = ""
    total: int | None = None
    done: int = 0
    start: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        seconds = time.monotonic() - self.start
        if not self.unit:
            return f"{self.label}: {_duration(seconds)} so far"
        total = "" if self.total is None else f" of {self.total}"
        times = " ×" if self.unit[:1].isdigit() else ""
        left = ""
        if self.total and 0 < self.done < self.total:
            left = f", about {_duration(seconds / self.done * (self.total - self.done))} left"
        return f"{self.label}: {self.done}{total}{times} {self.unit}, {_duration(seconds)}{left}"


class _Reporter:
    """Prints a line for the innermost work of each thread, as long as there is any; the first one
    `SECONDS` after the first of them began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: list[tuple[int, _Work]] = []
        self._ended: threading.Event | None = None

    @contextlib.contextmanager
    def __call__(self, work: _Work) -> Iterator[_Work]:
        entry = (threading.get_ident(), work)
        with self._lock:
            self._works.append(entry)
            if self._ended is None:
                self._ended = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._ended,), daemon=True, name="progress"
                ).start()
        try:
            yield work
        finally:
            with self._lock:
                self._works.remove(entry)
                if not self._works:
                    self._ended.set()
                    self._ended = None

    def lines(self) -> list[str]:
        """What there is to tell now."""
        with self._lock:
            innermost = dict(self._works)
        if len(innermost) > 1:
            # What only waits for the others has nothing to say.
            innermost = {k: w for k, w in innermost.items() if w.unit} or innermost
        return [work.line() for work in innermost.values()]

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(SECONDS):
            for line in self.lines():
                print(line, file=sys.stderr, flush=True)


_report = _Reporter()


def progress(items: Iterable[T], label: str, total: int | None, unit: str) -> Iterator[T]:
    """Yield `items`, telling how far it is, the rate and the time left."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=label, total=total, unit=unit, file=sys.stderr)
        return
    with _report(_Work(label, unit, total)) as work:
        for item in items:
            yield item
            work.done += 1


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Within it, a line tells every half minute for how long, where stderr is no terminal."""
    if sys.stderr.isatty():
        yield
        return
    with _report(_Work(label)):
        yield


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
