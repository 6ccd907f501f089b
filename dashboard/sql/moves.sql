-- Users by segment on one date and segment on a later one; null: was or is no user
SELECT earlier.segment_id AS from_segment_id, later.segment_id AS to_segment_id, count(*) AS users
FROM (SELECT user_id, segment_id FROM {user_segments} WHERE snapshot_date = :first) AS earlier
FULL JOIN (SELECT user_id, segment_id FROM {user_segments} WHERE snapshot_date = :last) AS later
    ON later.user_id = earlier.user_id
GROUP BY earlier.segment_id, later.segment_id
ORDER BY earlier.segment_id, later.segment_id
