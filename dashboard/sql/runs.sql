-- The run of each of the dates
SELECT
    event_date, run_id, produced, requeued, landed, quarantined, duplicates, clean, sessions, users, segmented_users,
    too_late, forced, warnings, gaps,
    json_format(CAST(remarks AS json)) AS remarks,
    json_format(CAST(job_seconds AS json)) AS job_seconds,
    recorded_at
FROM {pipeline_runs}
WHERE event_date BETWEEN :first AND :last
ORDER BY event_date
