-- Runs of the dates that failed and have no later run that succeeded
SELECT f.event_date, f.run_id, array_join(f.failed_tasks, ', ') AS failed_tasks, f.failed_at
FROM {failed_runs} AS f
LEFT JOIN {pipeline_runs} AS r
    ON r.event_date = f.event_date AND r.recorded_at > f.failed_at AND r.event_date BETWEEN :first AND :last
WHERE f.event_date BETWEEN :first AND :last AND r.event_date IS NULL
ORDER BY f.event_date DESC, f.failed_at DESC
