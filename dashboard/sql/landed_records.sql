-- Landed records of the dates by what they were quarantined for, if anything, and by how many days after its event Kafka
-- took them in; those of neither kind are left out. One statement, for it reads what many records wrote.
SELECT event_date, error_type, days_late, count(*) AS records
FROM (
    SELECT event_date, error_type, date_diff('day', event_date, CAST("timestamp" AS date)) AS days_late
    FROM {raw_events}
    WHERE event_date BETWEEN :first AND :last
)
WHERE error_type IS NOT NULL OR days_late > 0
GROUP BY event_date, error_type, days_late
ORDER BY event_date, error_type, days_late
