-- Sessions of a user that began on the dates
SELECT
    session_key, session_start, session_end, duration_seconds, events, views, carts, checkouts, purchases,
    CAST(revenue AS double) AS revenue,
    coalesce(device_type, 'unknown') AS device_type
FROM {sessions}
WHERE session_date BETWEEN :first AND :last AND user_id = :user
ORDER BY session_start
