"""The compute host's side: sockets on the interfaces of instances, the datastore's view, its copy on disk, and the
metadata proxy. What is answered is decided in ``answers``, without any of this."""
