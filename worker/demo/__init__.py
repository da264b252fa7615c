"""The demo: a cluster, a web server, a model, the worker and a reader, in one process tree, and what they showed."""
