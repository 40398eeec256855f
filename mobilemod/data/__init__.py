"""Images: which there are, what class each is, and how one becomes a network's input. Imports
nothing of mobilemod but errors, files and progress.
"""
