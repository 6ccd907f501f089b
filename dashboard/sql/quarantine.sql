-- Quarantined records of the dates by reason, with the first of each as an example
SELECT
    error_type,
    count(*) AS records,
    count(DISTINCT event_date) AS dates,
    min_by(error_detail, ROW("topic", "partition", "offset")) AS detail,
    min_by(from_utf8(substr(payload, 1, 300)), ROW("topic", "partition", "offset")) AS payload,
    min(concat_ws('/', "topic", CAST("partition" AS varchar), CAST("offset" AS varchar))) AS position
FROM {raw_events}
WHERE event_date BETWEEN :first AND :last AND error_type IS NOT NULL
GROUP BY error_type
ORDER BY records DESC, error_type
