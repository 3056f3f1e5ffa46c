"""Programs that replicate something of their own. Each is started by `python -m`, and is as short as it can be."""
