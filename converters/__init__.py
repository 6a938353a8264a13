"""Caffe -> Network and back: text and wire readers, one merged schema, upgrades, lowering, writers."""
