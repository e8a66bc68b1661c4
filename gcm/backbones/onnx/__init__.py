"""Networks as ONNX files, and our networks computed by ONNX Runtime; extra ``onnx``.

`export` makes files, `files` compares them with PyTorch and keeps them, `session` runs them, `runtime` is
what takes the place of PyTorch's networks. Nothing here is imported unless it is asked for.
"""
