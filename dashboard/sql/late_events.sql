-- Records of the dates by how many days after its event Kafka took them in
SELECT event_date, date_diff('day', event_date, CAST("timestamp" AS date)) AS days_late, count(*) AS records
FROM {raw_events}
WHERE event_date BETWEEN :first AND :last AND CAST("timestamp" AS date) > event_date
GROUP BY event_date, date_diff('day', event_date, CAST("timestamp" AS date))
ORDER BY event_date, days_late
