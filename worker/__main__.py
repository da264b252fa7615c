"""`python -m worker` is `image-worker`."""

from worker.cli import main

main()
