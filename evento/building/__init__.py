"""Images of functions that are projects in Python: read the project, write its Containerfile, have the engine build it.

It knows what an image of a function consists of, and nothing of how functions are deployed, called or run.
"""

from evento.building.building import Built, build_image, scaffold

__all__ = ["Built", "build_image", "scaffold"]
