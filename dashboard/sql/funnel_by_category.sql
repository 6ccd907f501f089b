-- Sessions by category of their products: in which of them a session reached a step of the funnel, that step or a later
-- one. A checkout names no product: it is one of the categories that the session put into the cart.
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
        category,
        CASE
            WHEN bool_or(event_type = 'purchase') THEN 4
            WHEN bool_or(event_type = 'checkout') OR bool_or(event_type = 'cart') AND bool_or(checkouts > 0) THEN 3
            WHEN bool_or(event_type = 'cart') THEN 2
            ELSE 1
        END AS step,
        bool_or(event_type = 'cart') AS has_cart
    FROM (
        SELECT
            e.session_key, e.event_type, s.checkouts,
            coalesce(split_part(e.category_code, '.', 1), 'unknown') AS category
        FROM {sessions} AS s
        JOIN {events} AS e ON e.session_key = s.session_key AND e.event_date BETWEEN :first AND :day_after
        LEFT JOIN {user_segments} AS g
            ON g.snapshot_date = s.session_date AND g.user_id = s.user_id AND g.snapshot_date BETWEEN :first AND :last
        WHERE s.session_date BETWEEN :first AND :last
            AND e.event_type IN ('view', 'cart', 'checkout', 'purchase')
            AND e.product_id IS NOT NULL
            AND (:device = '' OR coalesce(s.device_type, 'unknown') = :device)
            AND (:every_segment OR contains(:segments, g.segment_id))
    )
    GROUP BY session_key, category
)
GROUP BY category
ORDER BY sessions DESC, category
