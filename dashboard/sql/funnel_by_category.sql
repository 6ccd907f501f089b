-- Sessions by category: in which of them a session reached a step of the funnel, that step or a later one
SELECT
    category,
    count(*) AS sessions,
    count_if(step >= 1) AS viewed,
    count_if(step >= 2) AS carted,
    count_if(step >= 3) AS checked_out,
    count_if(step >= 4) AS purchased,
    count_if(has_cart) AS with_cart,
    count_if(has_cart AND step < 4) AS abandoned
FROM (
    SELECT
        session_key,
        coalesce(split_part(category_code, '.', 1), 'unknown') AS category,
        max(CASE event_type WHEN 'view' THEN 1 WHEN 'cart' THEN 2 WHEN 'checkout' THEN 3 ELSE 4 END) AS step,
        bool_or(event_type = 'cart') AS has_cart
    FROM {events}
    WHERE event_date BETWEEN :first AND :last
        AND event_type IN ('view', 'cart', 'checkout', 'purchase')
        AND product_id IS NOT NULL
        AND (:device = '' OR coalesce(device.type, 'unknown') = :device)
        AND (
            :every_segment
            OR user_id IN (
                SELECT user_id FROM {user_segments} WHERE snapshot_date = :last AND contains(:segments, segment_id)
            )
        )
    GROUP BY session_key, coalesce(split_part(category_code, '.', 1), 'unknown')
)
GROUP BY category
ORDER BY sessions DESC, category
