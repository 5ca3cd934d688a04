"""Journals: the durable store behind one deployment. `base` is the port; only `evento.bootstrap` imports a backend."""
