"""The main file of a Spark batch: runs `preptime spark` with the arguments of the batch."""

import sys

from preptime.cli import main

sys.exit(main(["spark", *sys.argv[1:]]))
