"""The canonical form of any network, and what runtimes get of it: exact rewrites to what phones are
fast at, every tensor named. Knows no network and imports none.
"""
