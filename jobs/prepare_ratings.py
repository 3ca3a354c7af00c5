r"""Read a rating log of any published form and write it as Parquet tables: ratings, movies, rejects.

examples:
  spark-submit jobs/prepare_ratings.py --ratings ml-25m --output tables/ml-25m
  spark-submit jobs/prepare_ratings.py --ratings 'training_set/mv_*.txt' \
      --movies movie_titles.txt --output tables/netflix
  spark-submit jobs/cluster_users.py --ratings tables/netflix --output output/netflix
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # a checkout runs uninstalled

from tastemap import cli

SECTIONS = ("source",)


def main() -> str:
    """Parse, run, and say what came of it."""
    arguments = cli.parse(__doc__, SECTIONS)
    # Spark is not imported before the arguments are known to be good: --help answers at once.
    from tastemap.session import session

    with session("tastemap: prepare ratings", loading="tastemap.preparation") as spark:
        from tastemap.preparation import prepare_ratings

        manifest = prepare_ratings(
            spark,
            arguments.ratings,
            arguments.output,
            arguments.config,
            movies=arguments.movies,
            overwrite=arguments.overwrite,
        )
    return f"results: {manifest['output'].removeprefix('file:')}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
