"""A fleet of simulated nodes: real clients of the real wire, and a ledger that is held against the hub's."""
