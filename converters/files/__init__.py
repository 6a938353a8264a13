"""Caffe's files: prototxt text, caffemodel and mean files, one schema over all generations and forks."""
