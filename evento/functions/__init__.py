"""Functions: calling what users bring. `base` is the port; only `evento.bootstrap` imports a runtime."""
