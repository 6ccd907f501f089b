-- The first and the last date that has sessions; null where none has
SELECT min("partition".session_date) AS first_date, max("partition".session_date) AS last_date
FROM {sessions.partitions}
