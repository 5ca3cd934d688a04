"""Reads (design §8): state, history, time travel, outcomes; and `verify`, which folds everything again."""
