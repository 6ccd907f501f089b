"""One date through landing, transform and segmentation in one session, whatever kind that is: `FOLDER TOPIC DATE`."""

from __future__ import annotations

import sys

import config
from spark_jobs import land_raw_events, transform_clickstream, user_segmentation_ml
from spark_jobs.lake.session import open_session


def main(argv: list[str]) -> int:
    folder, topic, date = argv
    with open_session("run_day", config.load()) as spark:
        print(type(spark).__module__)
        return (
            land_raw_events.main(["--topic", topic, "--run-date", date, "--output-path", folder])
            or transform_clickstream.main(["--start-date", date, "--output-path", folder])
            or user_segmentation_ml.main(["--start-date", date, "--output-path", folder])
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
