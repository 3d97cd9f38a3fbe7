"""One file a group of routes; each has a `router`."""
