"""One module a command of `rise-gym`; only these know world model, environments and agents at once."""
