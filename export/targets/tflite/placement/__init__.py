"""What the runtime's delegates make of a file: native code that is asked in processes of its own.
Imports the runtime, and nothing of the target's other modules.
"""
