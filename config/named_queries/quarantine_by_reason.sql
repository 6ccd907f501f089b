-- What was quarantined on each date, and why
SELECT event_date, error_type, count(*) AS records, min(error_detail) AS example
FROM {database}.quarantined_events
WHERE event_date >= (SELECT max(event_date) - INTERVAL '7' DAY FROM {database}.{tables.pipeline_runs})
GROUP BY event_date, error_type
ORDER BY event_date, records DESC, error_type
