"""What the neighbours in time know: windows and smoothing."""
