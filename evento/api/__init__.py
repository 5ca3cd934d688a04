"""The HTTP face (design §10): requests in, problem details and outcomes out. Knows the engine only by its ports, and no backend."""
