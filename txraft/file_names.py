"""The names in a node's directory that more than one package has to know."""

LOG = "raft.sqlite"
DATA = "kv.sqlite"
