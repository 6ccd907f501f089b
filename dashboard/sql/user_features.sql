-- All numbers that are known of a user up to a date
SELECT
    days_since_last_event, days_since_last_purchase, days_since_first_event_30d, active_days_count_30d,
    events_sum_1d, sessions_sum_1d, page_views_sum_1d, searches_sum_1d, clicks_sum_1d, views_sum_1d,
    products_viewed_sum_1d, carts_sum_1d, removals_sum_1d, checkouts_sum_1d, purchases_sum_1d,
    revenue_sum_1d, cart_sessions_sum_1d, events_sum_7d, sessions_sum_7d, page_views_sum_7d,
    searches_sum_7d, clicks_sum_7d, views_sum_7d, products_viewed_sum_7d, carts_sum_7d, removals_sum_7d,
    checkouts_sum_7d, purchases_sum_7d, revenue_sum_7d, cart_sessions_sum_7d, events_sum_30d,
    sessions_sum_30d, page_views_sum_30d, searches_sum_30d, clicks_sum_30d, views_sum_30d,
    products_viewed_sum_30d, carts_sum_30d, removals_sum_30d, checkouts_sum_30d, purchases_sum_30d,
    revenue_sum_30d, cart_sessions_sum_30d, activity_trend_7d_30d, session_minutes_mean_30d,
    session_minutes_p90_30d, seconds_per_event_mean_30d, events_per_session_mean_30d,
    pages_per_session_mean_30d, products_per_session_mean_30d, categories_count_30d, order_value_mean_30d,
    units_per_cart_mean_30d, price_level_mean_30d, page_view_rate_30d, search_rate_30d, cart_rate_30d,
    checkout_rate_30d, purchase_rate_30d, removal_rate_30d, cart_conversion_rate_30d,
    cart_abandonment_rate_30d, night_share_30d, morning_share_30d, afternoon_share_30d, evening_share_30d,
    weekend_share_30d, mobile_share_30d, desktop_share_30d, tablet_share_30d
FROM {user_features}
WHERE snapshot_date = :date AND user_id = :user
