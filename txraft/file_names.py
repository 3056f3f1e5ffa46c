"""The names of files that more than one module has to know: in a node's directory, and beside those of `txraft up`."""

LOG = "raft.sqlite"
DATA = "kv.sqlite"
CLUSTER = "cluster.toml"
"""Where `txraft up` writes down the cluster that --nodes and --base-port describe."""
