-- The segments of the dates, each under its newest name
SELECT segment_id, max_by(segment_name, snapshot_date) AS segment_name
FROM {segment_profiles}
WHERE snapshot_date BETWEEN :first AND :last
GROUP BY segment_id
ORDER BY segment_id
