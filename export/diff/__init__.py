"""Where two model files part, and why. `compare` is its entry."""
