r"""Compare two runs: which segments correspond, how many users moved where, what changed in their tastes.

examples:
  spark-submit jobs/compare_runs.py --before output/monday --after output/tuesday
  spark-submit jobs/compare_runs.py --before s3://bucket/may --after s3://bucket/june --output s3://bucket/change
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # a checkout runs uninstalled

from tastemap import cli


@dataclass(frozen=True)
class Arguments:
    before: str = cli.argument("a finished run of cluster_users", "DIR", example="output/monday")
    after: str = cli.argument("a later one, or one with other options", "DIR", example="output/tuesday")
    output: str | None = cli.argument("where tables go (default: nowhere, text only)", "DIR")
    overwrite: bool = cli.argument("replace an earlier run in --output", default=False)


def main() -> str:
    """Parse, run, and say what came of it."""
    arguments = cli.parse(__doc__, (), kind=Arguments)
    # Spark is not imported before the arguments are known to be good: --help answers at once.
    from tastemap.session import session

    with session("tastemap: compare runs", loading="tastemap.comparison", workers=False) as spark:
        from tastemap import comparison, comparison_summary

        found = comparison.compare_runs(
            spark, arguments.before, arguments.after, arguments.output, overwrite=arguments.overwrite
        )
    return "\n" + comparison_summary.text(found, arguments.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
