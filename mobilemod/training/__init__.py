"""Trains a network from scratch, and what quantization-aware training shares with that. Imports
networks, data and evaluation.
"""
