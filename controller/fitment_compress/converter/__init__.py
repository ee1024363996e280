"""ONNX to .tflite, in a Python environment of its own.

The converter pins versions of numpy, onnx and LiteRT that are not ours, and needs a newer Python
than Fitment does. So it lives in a folder of its own, is installed by `fitment converter install`,
and is called as a child process: an ONNX file in, a .tflite file out.
"""
