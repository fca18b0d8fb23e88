"""The studio: an HTTP service and its page, in one process with one model thread."""
