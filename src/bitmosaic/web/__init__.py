"""The studio: a page on an HTTP service, one process, one model thread."""
