"""tflite-runtime, LiteRT's predecessor, in an environment of its own: what an app still has that
was never moved. The worker runs there and imports nothing of ours.
"""
