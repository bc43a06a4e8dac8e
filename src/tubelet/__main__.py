"""`python -m tubelet` (and so `torchrun -m tubelet`) is the `tubelet` command."""

import sys

from tubelet.cli import main

if __name__ == "__main__":
    sys.exit(main())
