"""The CPU engine: ONNX models in a runtime, and numpy for layers that ONNX cannot express."""
