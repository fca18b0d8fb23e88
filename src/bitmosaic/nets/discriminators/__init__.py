"""Discriminators: images, and perhaps their classes, -> one logit an image, positive for real."""
