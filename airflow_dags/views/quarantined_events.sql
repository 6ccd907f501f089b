CREATE OR REPLACE VIEW {{ paths.database }}.quarantined_events AS
SELECT
    topic, "partition", "offset", "timestamp", key, error_type, error_detail,
    payload,
    from_utf8(payload) AS payload_text, -- what is not UTF-8 in it shows as the replacement character
    ingested_at,
    requeued_at, -- when the record that `make requeue` published for it landed; null: still open
    event_date
FROM {{ paths.database }}.{{ paths.tables.raw_events }}
LEFT JOIN (
    SELECT requeued_from AS successor_of, max(ingested_at) AS requeued_at
    FROM {{ paths.database }}.{{ paths.tables.raw_events }}
    WHERE requeued_from IS NOT NULL
    GROUP BY requeued_from
) ON successor_of = topic || '/' || CAST("partition" AS varchar) || '/' || CAST("offset" AS varchar)
    AND requeued_at > ingested_at
WHERE error_type IS NOT NULL
