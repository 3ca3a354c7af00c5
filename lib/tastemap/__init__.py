"""tastemap: audience segments from rating logs of any size, on Spark."""

__version__ = "0.1.0"
