"""onnx2tf: another's way from ONNX to `.tflite`, in an environment of its own. The files are
TFLite's and stay as onnx2tf writes them; what reads and runs them is TFLite's own.
"""
