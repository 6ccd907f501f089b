-- Sessions by date and segment, and by date, segment and device. A session has reached a step of the funnel when it took
-- it or a later one: a shop without a checkout page loses nobody there.
SELECT
    session_date,
    segment_id, -- null: the date has no segments yet
    device_type, -- null: every device
    count(*) AS sessions,
    count(DISTINCT user_id) AS users,
    sum(events) AS events,
    CAST(sum(revenue) AS double) AS revenue,
    count_if(views + carts + checkouts + purchases > 0) AS viewed,
    count_if(carts + checkouts + purchases > 0) AS carted,
    count_if(checkouts + purchases > 0) AS checked_out,
    count_if(purchases > 0) AS purchased,
    count_if(carts > 0) AS with_cart,
    count_if(carts > 0 AND purchases = 0) AS abandoned
FROM (
    SELECT
        s.session_date, g.segment_id, coalesce(s.device_type, 'unknown') AS device_type, s.user_id,
        s.events, s.revenue, s.views, s.carts, s.checkouts, s.purchases
    FROM {sessions} AS s
    LEFT JOIN {user_segments} AS g
        ON g.snapshot_date = s.session_date AND g.user_id = s.user_id AND g.snapshot_date BETWEEN :first AND :last
    WHERE s.session_date BETWEEN :first AND :last
)
GROUP BY GROUPING SETS ((session_date, segment_id), (session_date, segment_id, device_type))
ORDER BY session_date, segment_id, device_type
