"""Who may say which model runs: roles and keys of a TUF repository, signed bundles, signed directives.

Only this package and the node's update know cryptography; everything else of Tocsin runs without.
"""
