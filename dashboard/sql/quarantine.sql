-- Quarantined records of the dates by reason, with the first three of each as examples
SELECT
    error_type,
    count(*) AS records,
    count(DISTINCT event_date) AS dates,
    array_join(min_by(error_detail, place, 3), ' | ') AS details,
    array_join(min_by(text, place, 3), ' | ') AS payloads,
    array_join(min_by(position, place, 3), ' | ') AS positions
FROM (
    SELECT
        error_type, error_detail, event_date,
        ROW("topic", "partition", "offset") AS place,
        from_utf8(substr(payload, 1, 300)) AS text,
        concat_ws('/', "topic", CAST("partition" AS varchar), CAST("offset" AS varchar)) AS position
    FROM {raw_events}
    WHERE event_date BETWEEN :first AND :last AND error_type IS NOT NULL
)
GROUP BY error_type
ORDER BY records DESC, error_type
