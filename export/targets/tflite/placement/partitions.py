"""What the TFLite runtime's default delegate (XNNPACK) makes of a file here: asks the runtime.

The runtime is native code that may crash on a stranger's bytes, and a fork of a process with
threads may hang. So this module is a program as well, which has none: it reads paths, a line each,
and answers each with a line of JSON, made by a fork of its own.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading

from export.targets import isolated

BYTES_PER_SECOND = 2_000_000
ASKING = threading.Lock()


class RuntimeRefusal(Exception):
    """Why the runtime doesn't load a file, as one line."""


def ask_partitions(path: str) -> tuple[list[int | None], int]:
    """`find_partitions(path)` in another process; `RuntimeRefusal` where it fails or crashes."""
    with ASKING:
        server = _server()
        try:
            server.stdin.write(json.dumps(path) + "\n")
            server.stdin.flush()
            answer = server.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            _server.cache_clear()
            raise RuntimeRefusal("its process ended")
    found = json.loads(answer)
    if "error" in found:
        raise RuntimeRefusal(found["error"])
    return found["inside"], found["count"]


@functools.cache
def _server() -> subprocess.Popen:
    """The process that answers; it ends when this one does, which closes its input."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _serve() -> None:
    import ai_edge_litert.interpreter  # noqa: F401  once, for all forks

    answers = os.dup(1)
    os.dup2(2, 1)  # what the runtime prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        path = json.loads(line)
        size = os.stat(path).st_size
        seconds = isolated.SECONDS + size // BYTES_PER_SECOND
        memory = isolated.SPARE_MEMORY + 8 * size
        try:
            inside, count = isolated.call(find_partitions, path, seconds=seconds, memory=memory)
            found = {"inside": inside, "count": count}
        except isolated.IsolatedError as error:
            found = {"error": str(error)}
        os.write(answers, json.dumps(found).encode() + b"\n")


def find_partitions(path: str) -> tuple[list[int | None], int]:
    """(Per op of the first subgraph: its delegate partition or None, number of partitions).

    The interpreter lists a delegate's calls behind the graph's own ops, by their input and output
    tensors; the ops inside are those on the way from the ones to the others, and those whose
    results nobody needs (a variable's assignment) where what they read doesn't leave the delegate.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter._get_ops_details()
    calls = [d for d in details if d["op_name"] == "DELEGATE"]
    ops = [d for d in details if d["op_name"] != "DELEGATE"]
    producer = {int(out): i for i, op in enumerate(ops) for out in op["outputs"]}
    inside: list[int | None] = [None] * len(ops)

    def walk_back(pending: list[int], given: set[int], number: int) -> None:
        """Mark what makes the tensors `pending` from `given` as inside call `number`."""
        while pending:
            tensor = pending.pop()
            op = producer.get(tensor)
            if op is None or inside[op] is not None or tensor in given:
                continue
            inside[op] = number
            pending += [int(i) for i in ops[op]["inputs"] if i >= 0]

    for number, call in enumerate(calls):
        given, kept = ({int(i) for i in call[side]} for side in ("inputs", "outputs"))
        walk_back(list(kept), given, number)
        # Ops that nothing inside reads: they are in the file's order, so one pass finds chains.
        for i, op in enumerate(ops):
            read = [int(t) for t in op["inputs"] if t >= 0]
            hidden = [t for t in read if t not in kept and inside[producer.get(t, i)] == number]
            if inside[i] is None and hidden:
                walk_back(read, given, number)
                inside[i] = number
    return inside, len(calls)


if __name__ == "__main__":
    _serve()
