"""How calls come in: the daemon behind the shim, a process of its own, the installation."""
