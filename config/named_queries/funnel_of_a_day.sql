-- Sessions of the newest date that viewed a product, filled a cart, began the checkout, bought
SELECT
    session_date,
    count(*) AS sessions,
    count_if(views > 0) AS with_view,
    count_if(carts > 0) AS with_cart,
    count_if(checkouts > 0) AS with_checkout,
    count_if(purchases > 0) AS with_purchase
FROM {database}.{tables.sessions}
WHERE session_date = (SELECT max(event_date) FROM {database}.{tables.pipeline_runs})
GROUP BY session_date
