"""Where LiteRT runs a file's ops, as it says itself."""

from __future__ import annotations

import pytest

from mobilemod.harness.worker.runtimes import load_tflite, tflite_placement


def test_ops_of_a_file_by_where_they_run(tiny_source):
    path = tiny_source / "tiny_int8.tflite"
    delegated = load_tflite(path)
    assert delegated.partitions >= 1
    alone = load_tflite(path, delegate="cpu")
    assert alone.partitions == 0
    assert alone.fallback == {
        "QUANTIZE": 1, "AVERAGE_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1, "DEQUANTIZE": 1
    }  # fmt: skip
    assert sum(delegated.fallback.values()) < 5


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        # One delegate takes all.
        ([("A", [0, 9], [1]), ("B", [1], [2]), ("DELEGATE", [0, 9], [2])], (1, {})),
        # The op in the middle stays outside, between two delegates.
        (
            [
                ("A", [0], [1]),
                ("B", [1], [2]),
                ("C", [2], [3]),
                ("DELEGATE", [0], [1]),
                ("DELEGATE", [2], [3]),
            ],
            (2, {"B": 1}),
        ),
        # What the output doesn't need isn't counted; two ops of one name are.
        ([("A", [0], [1]), ("A", [1], [3]), ("B", [0], [8])], (0, {"A": 2})),
    ],
)
def test_placement_of_known_graphs(nodes, expected):
    class Interpreter:
        def _get_ops_details(self):
            return [
                {"index": n, "op_name": name, "inputs": inputs, "outputs": outputs}
                for n, (name, inputs, outputs) in enumerate(nodes)
            ]

    output = 2 if expected == (1, {}) else 3
    assert tflite_placement(Interpreter(), output) == expected
    assert tflite_placement(object(), output) == (None, None)
