"""A window of the topic done again: the ordinary worker, in a group of its own, into topics of its own."""
