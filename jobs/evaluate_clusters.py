r"""Judge clusterings of a rating log: what they predict, how stable they are, which settings earn it.

examples:
  spark-submit jobs/evaluate_clusters.py --ratings ml-latest-small --output output/judged
  spark-submit jobs/evaluate_clusters.py --ratings ml-25m --output output/judged \
      --weighting all --n-components 8,16,32 --n-clusters 4:40:4 --repeats 5
  spark-submit jobs/evaluate_clusters.py --ratings synthetic --output output/judged \
      --truth synthetic/groups.parquet
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # a checkout runs uninstalled

from tastemap import cli

SECTIONS = ("source", "cleaning", "weighting", "decomposition", "clustering", "evaluation", "run")
COMPARED = {"n_components": "8,16,32", "n_clusters": "5,10,20,40"}


def main() -> str:
    """Parse, run, and say what came of it."""
    arguments = cli.parse(__doc__, SECTIONS, defaults=COMPARED)
    # Spark is not imported before the arguments are known to be good: --help answers at once.
    from tastemap.session import session

    with session("tastemap: evaluate clusters", loading="tastemap.evaluation.pipeline") as spark:
        from tastemap.evaluation import pipeline, summary

        result = pipeline.evaluate_clusters(
            spark,
            arguments.ratings,
            arguments.output,
            arguments.config,
            movies=arguments.movies,
            overwrite=arguments.overwrite,
        )
    return "\n" + summary.text(result)


if __name__ == "__main__":
    sys.exit(cli.run(main))
