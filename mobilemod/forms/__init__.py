"""The mobile form of a network: exact rewrites to what phones are fast at, every tensor named.
Imports networks alone.
"""
