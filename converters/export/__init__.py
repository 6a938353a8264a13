"""The way back: a Network as prototxt and caffemodel."""
