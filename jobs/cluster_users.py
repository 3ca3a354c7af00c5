r"""Cluster the users of a rating log: raw log in, segments and their profiles out, as Parquet.

examples:
  spark-submit jobs/cluster_users.py --ratings ml-latest-small --output output/small
  spark-submit jobs/cluster_users.py --ratings 'netflix/combined_data_*.txt' \
      --movies netflix/movie_titles.csv --output s3://bucket/segments --n-clusters 12 --n-components 50
  spark-submit jobs/cluster_users.py --ratings likes.parquet --user-column member \
      --movie-column title_id --rating-column stars --output output/likes --config conf/cluster_users.toml
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # a checkout runs uninstalled

from tastemap import cli

SECTIONS = (
    *("source", "cleaning", "weighting", "decomposition", "clustering"),
    *("evaluation", "profiles", "privacy", "report", "run"),
)


def main() -> str:
    """Parse, run, and say what came of it."""
    arguments = cli.parse(__doc__, SECTIONS)
    # Spark is not imported before the arguments are known to be good: --help answers at once.
    from tastemap.session import session

    with session("tastemap: cluster users", loading="tastemap.pipeline") as spark:
        from tastemap import pipeline, summary

        result = pipeline.cluster_users(
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
