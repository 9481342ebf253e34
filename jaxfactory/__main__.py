"""``python -m jaxfactory`` runs the ``jaxfactory`` command."""

import sys

from jaxfactory.cli.main import main


if __name__ == "__main__":
    sys.exit(main())
