"""One page that explains the segments of a run: bounded samples in, a self-contained file out.

Only `sample` and `reporter` know Spark; `page` and the figures need Bokeh, which only the driver has to have.
"""
