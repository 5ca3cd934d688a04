"""A deployment as objects of Kubernetes: a pure function from resources to objects, for whoever applies them.

It speaks to no cluster, reads no files, and knows nothing of how Evento runs what it renders.
"""

from evento.kubernetes.images import with_images
from evento.kubernetes.options import Options
from evento.kubernetes.rendering import render
from evento.kubernetes.yaml_writer import yaml_text

__all__ = ["Options", "render", "with_images", "yaml_text"]
