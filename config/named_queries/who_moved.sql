-- Users whose segment changed on the newest date, at most 100
SELECT
    user_id, previous_segment_id, segment_id, segment_name, round(distance_to_centroid, 2) AS distance_to_centroid,
    snapshot_date
FROM {database}.segments_current
WHERE previous_segment_id <> segment_id
ORDER BY user_id
LIMIT 100
