"""What a torch model does, seen from outside: every operation, every spike, and where each element came from."""
