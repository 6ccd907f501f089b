-- Segment of a user on each of the dates
SELECT snapshot_date, segment_id, segment_name, segment_since, distance_to_centroid
FROM {user_segments}
WHERE snapshot_date BETWEEN :first AND :last AND user_id = :user
ORDER BY snapshot_date
