"""Caffe's files: prototxt, caffemodel and mean files, with one schema for all generations and forks."""
