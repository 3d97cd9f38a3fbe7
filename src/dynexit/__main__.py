"""`python -m dynexit`."""

from dynexit.cli import main

main()
