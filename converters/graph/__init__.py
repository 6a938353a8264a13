"""A Caffe definition as a graph: upgrades, phases, wiring, sizes, names, and weights of layers."""
