"""Surgery on ONNX graphs, in numpy: channels, blocks, and layers in place of layers.

shapes.py           every tensor's shape and type, as far as inference finds them
coupling.py         which channels can only be removed together
tracker.py          follows channels through a graph; flow.py knows how, operator by operator
channels.py         the groups that come of it, and their removal
importance.py       which channels of a group matter least
layers.py           convolutions and matrix products behind one face
refit.py            least squares: a changed layer gives again what it gave before
blocks.py           regions that give what they take, and the graph without them
graphs.py           dead nodes, constants, outputs tapped in the middle
"""
