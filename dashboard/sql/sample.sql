-- A sample of a date's users with a segment, the same each time, and all their numbers
SELECT
    g.user_id, g.segment_id, g.segment_name,
    f.days_since_last_event, f.days_since_last_purchase, f.days_since_first_event_30d, f.active_days_count_30d,
    f.events_sum_1d, f.sessions_sum_1d, f.page_views_sum_1d, f.searches_sum_1d, f.clicks_sum_1d, f.views_sum_1d,
    f.products_viewed_sum_1d, f.carts_sum_1d, f.removals_sum_1d, f.checkouts_sum_1d, f.purchases_sum_1d,
    f.revenue_sum_1d, f.cart_sessions_sum_1d, f.events_sum_7d, f.sessions_sum_7d, f.page_views_sum_7d,
    f.searches_sum_7d, f.clicks_sum_7d, f.views_sum_7d, f.products_viewed_sum_7d, f.carts_sum_7d, f.removals_sum_7d,
    f.checkouts_sum_7d, f.purchases_sum_7d, f.revenue_sum_7d, f.cart_sessions_sum_7d, f.events_sum_30d,
    f.sessions_sum_30d, f.page_views_sum_30d, f.searches_sum_30d, f.clicks_sum_30d, f.views_sum_30d,
    f.products_viewed_sum_30d, f.carts_sum_30d, f.removals_sum_30d, f.checkouts_sum_30d, f.purchases_sum_30d,
    f.revenue_sum_30d, f.cart_sessions_sum_30d, f.activity_trend_7d_30d, f.session_minutes_mean_30d,
    f.session_minutes_p90_30d, f.seconds_per_event_mean_30d, f.events_per_session_mean_30d,
    f.pages_per_session_mean_30d, f.products_per_session_mean_30d, f.categories_count_30d, f.order_value_mean_30d,
    f.units_per_cart_mean_30d, f.price_level_mean_30d, f.page_view_rate_30d, f.search_rate_30d, f.cart_rate_30d,
    f.checkout_rate_30d, f.purchase_rate_30d, f.removal_rate_30d, f.cart_conversion_rate_30d,
    f.cart_abandonment_rate_30d, f.night_share_30d, f.morning_share_30d, f.afternoon_share_30d, f.evening_share_30d,
    f.weekend_share_30d, f.mobile_share_30d, f.desktop_share_30d, f.tablet_share_30d
FROM {user_segments} AS g
JOIN {user_features} AS f ON f.user_id = g.user_id AND f.snapshot_date = :date
WHERE g.snapshot_date = :date AND g.segment_id > 0 AND (:every_segment OR contains(:segments, g.segment_id))
ORDER BY xxhash64(to_utf8(g.user_id)), g.user_id
LIMIT :most
