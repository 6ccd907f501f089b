CREATE OR REPLACE VIEW {{ paths.database }}.quarantined_events AS
SELECT
    topic, "partition", "offset", "timestamp", key, error_type, error_detail,
    payload,
    from_utf8(payload) AS payload_text, -- what is not UTF-8 in it shows as the replacement character
    ingested_at, event_date
FROM {{ paths.database }}.{{ paths.tables.raw_events }}
WHERE error_type IS NOT NULL
