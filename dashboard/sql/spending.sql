-- What a user of each segment spent in the 30 days up to a date, on average, the most first
SELECT g.segment_id, avg(f.revenue_sum_30d) AS revenue
FROM {user_segments} AS g
JOIN {user_features} AS f ON f.user_id = g.user_id AND f.snapshot_date = :date
WHERE g.snapshot_date = :date AND g.segment_id > 0
GROUP BY g.segment_id
ORDER BY revenue DESC, g.segment_id
