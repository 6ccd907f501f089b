-- The first three quarantined records of a date by reason: of one date, for payloads are most of what the table holds
SELECT
    error_type,
    array_join(min_by(error_detail, place, 3), ' | ') AS details,
    array_join(min_by(text, place, 3), ' | ') AS payloads,
    array_join(min_by(position, place, 3), ' | ') AS positions
FROM (
    SELECT
        error_type, error_detail,
        ROW("topic", "partition", "offset") AS place,
        from_utf8(substr(payload, 1, 300)) AS text,
        concat_ws('/', "topic", CAST("partition" AS varchar), CAST("offset" AS varchar)) AS position
    FROM {raw_events}
    WHERE event_date = :date AND error_type IS NOT NULL
)
GROUP BY error_type
ORDER BY error_type
