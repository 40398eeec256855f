"""What the TFLite runtime's default delegate (XNNPACK) makes of a file here: asks the runtime."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter


def find_partitions(path: str) -> tuple[list[int | None], int]:
    """(Per op of the first subgraph: its delegate partition or None, number of partitions).

    The interpreter lists a delegate's calls behind the graph's own ops, by their input and output
    tensors; the ops inside are those on the way from the ones to the others, and those whose
    results nobody needs (a variable's assignment) where what they read doesn't leave the delegate.
    """
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter._get_ops_details()
    calls = [d for d in details if d["op_name"] == "DELEGATE"]
    ops = [d for d in details if d["op_name"] != "DELEGATE"]
    producer = {int(out): i for i, op in enumerate(ops) for out in op["outputs"]}
    inside: list[int | None] = [None] * len(ops)
    for number, call in enumerate(calls):
        given = {int(i) for i in call["inputs"]}
        pending = [int(i) for i in call["outputs"]]
        _walk_back(ops, producer, inside, given, pending, number)
        kept = {int(i) for i in call["outputs"]}
        # Ops that nothing inside reads: they are in the file's order, so one pass finds chains.
        for i, op in enumerate(ops):
            read = [int(t) for t in op["inputs"] if t >= 0]
            hidden = [t for t in read if t not in kept and inside[producer.get(t, i)] == number]
            if inside[i] is None and hidden:
                _walk_back(ops, producer, inside, given, read, number)
                inside[i] = number
    return inside, len(calls)


def _walk_back(
    ops: list[dict],
    producer: dict[int, int],
    inside: list[int | None],
    given: set[int],
    pending: list[int],
    number: int,
) -> None:
    """Mark what makes the tensors `pending` from `given` as inside the delegate's call `number`."""
    pending = list(pending)
    while pending:
        tensor = pending.pop()
        op = producer.get(tensor)
        if op is None or inside[op] is not None or tensor in given:
            continue
        inside[op] = number
        pending += [int(i) for i in ops[op]["inputs"] if i >= 0]
