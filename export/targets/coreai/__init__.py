"""Core AI: lowered by coreai-torch, run by Apple's own runtime, read from the saved program."""
