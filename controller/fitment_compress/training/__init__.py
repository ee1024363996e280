"""Learning on the ONNX graph itself, with PyTorch (the extra `train`).

`learn.py` is the way in, and the only module here that imports nothing heavy at its top beside
`lesson.py`.
"""
