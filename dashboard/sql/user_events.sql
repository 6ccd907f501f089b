-- Events of a user on the dates, in their order
SELECT
    event_time, event_type, session_key, page_url, search_query, product_id, category_code, brand,
    CAST(price AS double) AS price,
    quantity
FROM {events}
WHERE event_date BETWEEN :first AND :last AND user_id = :user
ORDER BY event_time, event_id
LIMIT :most
