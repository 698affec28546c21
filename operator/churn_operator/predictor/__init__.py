"""What serves one version of a model: ONNX and JSON in, the V1 protocol out. Talks to nobody."""
