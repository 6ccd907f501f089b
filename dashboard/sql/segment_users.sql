-- Users of a segment on a date, who spent most first
SELECT
    g.user_id, g.segment_since, g.previous_segment_id, g.distance_to_centroid,
    f.revenue_sum_30d, f.purchases_sum_30d, f.sessions_sum_30d, f.days_since_last_event
FROM {user_segments} AS g
JOIN {user_features} AS f ON f.user_id = g.user_id AND f.snapshot_date = :date
WHERE g.snapshot_date = :date AND g.segment_id = :segment
ORDER BY f.revenue_sum_30d DESC, g.user_id
LIMIT :most
