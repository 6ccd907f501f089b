-- The segments of each of the dates, and what they were called
SELECT snapshot_date, segment_id, segment_name
FROM {segment_profiles}
WHERE snapshot_date BETWEEN :first AND :last
ORDER BY snapshot_date, segment_id
