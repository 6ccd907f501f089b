-- The users who spent most in the 30 days up to a date
SELECT user_id, revenue_sum_30d, sessions_sum_30d
FROM {user_features}
WHERE snapshot_date = :date
ORDER BY revenue_sum_30d DESC, user_id
LIMIT :most
