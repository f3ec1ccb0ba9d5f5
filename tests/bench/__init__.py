"""How fast the simulator is, measured against a peer, against bare loops, and against limits: `make bench`."""
