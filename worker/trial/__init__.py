"""`image-worker evaluate`: a model tried on photographs whose labels are known."""
