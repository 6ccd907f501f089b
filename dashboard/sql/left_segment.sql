-- Users of a segment on one date who are in another one, or none, on a later date; who spent most first
SELECT
    earlier.user_id, later.segment_name AS now_in, later.segment_since,
    features.revenue_sum_30d AS revenue_before, features.days_since_last_event AS days_since_last_event_before
FROM (SELECT user_id FROM {user_segments} WHERE snapshot_date = :first AND segment_id = :segment) AS earlier
JOIN (
    SELECT user_id, revenue_sum_30d, days_since_last_event FROM {user_features} WHERE snapshot_date = :first
) AS features
    ON features.user_id = earlier.user_id
LEFT JOIN (
    SELECT user_id, segment_id, segment_name, segment_since FROM {user_segments} WHERE snapshot_date = :last
) AS later
    ON later.user_id = earlier.user_id
WHERE later.segment_id IS NULL OR later.segment_id <> :segment
ORDER BY features.revenue_sum_30d DESC, earlier.user_id
LIMIT :most
