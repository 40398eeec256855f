"""Runs one `.tflite` file in tflite-runtime: `worker.py FILE THREADS`.

Says on the first line of standard output, as JSON, what it runs and takes, or why it doesn't. After
that each input's bytes on standard input are answered by a byte, 0 where it went well, and then by
the seconds that it took from input to output, a double, and the output's bytes.
"""

import json
import os
import struct
import sys
import time


def main(path: str, threads: int) -> None:
    """Serve until standard input ends."""
    # What the runtime itself prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(values: dict) -> None:
        answers.write(json.dumps(values).encode() + b"\n")
        answers.flush()

    try:
        import numpy as np
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as error:  # whatever the runtime throws is the answer
        say({"error": f"{type(error).__name__}: {error}"})
        return

    def edge(detail: dict) -> dict:
        return {
            "shape": detail["shape"].tolist(),
            "dtype": np.dtype(detail["dtype"]).name,
            "quantization": [float(detail["quantization"][0]), int(detail["quantization"][1])],
        }

    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    said = {"inputs": [*map(edge, inputs)], "outputs": [*map(edge, outputs)]}
    say({"version": tflite_runtime.__version__, **said})
    dtype, shape = np.dtype(inputs[0]["dtype"]), inputs[0]["shape"]
    size = dtype.itemsize * int(np.prod(shape))
    while len(given := sys.stdin.buffer.read(size)) == size:
        image = np.frombuffer(given, dtype).reshape(shape)
        start = time.perf_counter()
        try:
            interpreter.set_tensor(inputs[0]["index"], image)
            interpreter.invoke()
            output = interpreter.get_tensor(outputs[0]["index"])
        except Exception as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            answers.write(b"\1")
            answers.flush()
            return
        seconds = time.perf_counter() - start
        answers.write(b"\0" + struct.pack("<d", seconds) + np.ascontiguousarray(output).tobytes())
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
