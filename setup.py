"""Packaging of tastemap; the settings of its tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "lib/tastemap/__init__.py").read_text(encoding="utf-8"))[
    1
]

setup(
    name="tastemap",
    version=VERSION,
    description="Audience segments from rating logs of any size, on Spark",
    license="Apache-2.0",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"tastemap": ["py.typed", "report/assets/*"]},
    python_requires=">=3.11",
    # A cluster brings its own pyspark, so it is an extra. PySpark warns on pandas 3.
    install_requires=["numpy>=1.26", "pandas>=2.2,<3", "pyarrow>=15", "scipy>=1.12"],
    extras_require={
        # Spark 3.5 imports distutils, which Python has dropped in 3.12 and setuptools carries on.
        "spark": ["pyspark>=3.5,<4.4", "setuptools; python_version >= '3.12'"],
        # Only the driver needs them; Bokeh brings Jinja2.
        "report": ["bokeh>=3.5", "scikit-learn>=1.5"],
        # With a Chromium and its ChromeDriver, which are no Python packages.
        "figures": ["selenium"],
        "test": ["chispa", "hypothesis", "pytest", "pytest-xdist", "scikit-learn", "selenium"],
        # What the benchmarks compare with and measure by.
        "bench": ["polars", "psutil", "scikit-learn"],
        "dev": ["mypy", "pandas-stubs", "pre-commit", "ruff", "scipy-stubs"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3 :: Only",
        "Typing :: Typed",
    ],
)
