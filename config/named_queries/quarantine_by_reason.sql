-- What was quarantined on each date, why, and how much of it is still open
SELECT event_date, error_type, count(*) AS records, count_if(requeued_at IS NULL) AS still_open, min(error_detail) AS example
FROM {database}.quarantined_events
WHERE event_date >= (SELECT max(event_date) - INTERVAL '7' DAY FROM {database}.{tables.pipeline_runs})
GROUP BY event_date, error_type
ORDER BY event_date, records DESC, error_type
