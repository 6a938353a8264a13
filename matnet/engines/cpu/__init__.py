"""The CPU engine: ONNX models in a runtime, with numpy for layers that ONNX cannot express."""
