"""Bundles over the air, on the node: fourteen steps from a signed directive to a proven bundle.

Detection goes on throughout. Whatever fails, a bundle that has proven itself goes on listening, and the
node says so. Nothing of this package is imported unless ``update.url`` is set.
"""
