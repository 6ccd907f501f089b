-- The first and the last date that has sessions or a run, and the last one with sessions; null where none has
SELECT min(first_date) AS first_date, max(last_date) AS last_date, max(last_with_sessions) AS last_with_sessions
FROM (
    SELECT
        min("partition".session_date) AS first_date,
        max("partition".session_date) AS last_date,
        max("partition".session_date) AS last_with_sessions
    FROM {sessions.partitions}
    UNION ALL
    SELECT min("partition".event_date) AS first_date, max("partition".event_date) AS last_date, NULL AS last_with_sessions
    FROM {pipeline_runs.partitions}
)
