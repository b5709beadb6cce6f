"""Route reflectors of a cluster: who they are, when they pay, and the move from the mesh to them and back."""
