-- Counts of every date that was processed: nothing lost, nothing twice
SELECT event_date, produced, landed, quarantined, duplicates, clean, sessions, users, too_late, requeued, gaps, run_id
FROM {database}.{tables.pipeline_runs}
ORDER BY event_date
