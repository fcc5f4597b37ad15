"""A model hub on loopback, in the shape in which clients meet the real one. Needs Python alone."""
from .content import File, Repository
from .faults import Fault
from .hub import Hub

__all__ = ["Fault", "File", "Hub", "Repository"]
