-- The first and the last date that has segments; null where none has
SELECT min("partition".snapshot_date) AS first_date, max("partition".snapshot_date) AS last_date
FROM {segment_profiles.partitions}
