-- Quarantined records of the dates by reason
SELECT error_type, count(*) AS records, count(DISTINCT event_date) AS dates
FROM {raw_events}
WHERE event_date BETWEEN :first AND :last AND error_type IS NOT NULL
GROUP BY error_type
ORDER BY records DESC, error_type
