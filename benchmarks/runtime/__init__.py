"""PyTorch and ONNX Runtime side by side."""
