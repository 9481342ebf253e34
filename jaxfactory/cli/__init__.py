"""The ``jaxfactory`` command."""
