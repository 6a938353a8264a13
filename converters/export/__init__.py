"""Export of a Network to prototxt and caffemodel."""
