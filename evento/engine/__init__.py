"""The engine (design §6): takes Commands, calls functions, settles, commits, tells outcomes. Never names a backend."""
