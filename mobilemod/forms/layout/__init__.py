"""The layout of a whole network: a captured program op by op, its views and permutes followed
without moving anything, as a graph on channels-first images. Imports the graph and its ops.
"""
