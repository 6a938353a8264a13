"""The high-level methods of Network: classes, layers, predictions, detections, features, drawings."""
