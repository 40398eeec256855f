"""Verbs that make something: data, weights, bundles, apps with a bundle in them."""
