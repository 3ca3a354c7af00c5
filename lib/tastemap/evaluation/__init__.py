"""Whether clusters mean anything: what they predict, how stable and how separate they are."""
