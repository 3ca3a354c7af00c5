"""Clusters of rows that are described by scores."""
