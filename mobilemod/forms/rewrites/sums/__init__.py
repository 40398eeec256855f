"""Exact rewrites of sums: what is added in another order, or at another place, takes less."""
