"""Where things are kept: the log, the online state, names and facts, artifacts; a folder per port, a file per backend."""
