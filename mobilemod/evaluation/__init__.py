"""What answers are worth: accuracy, paired drop with its interval, agreement, doubt. Works on
arrays; reads no file.
"""
