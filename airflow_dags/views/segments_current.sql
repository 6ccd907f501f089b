CREATE OR REPLACE VIEW {{ paths.database }}.segments_current AS
SELECT
    user_id, segment_id, segment_name, distance_to_centroid, previous_segment_id, segment_since, model_id, snapshot_date
FROM {{ paths.database }}.{{ paths.tables.user_segments }}
WHERE snapshot_date = (
    SELECT max("partition".snapshot_date) FROM {{ paths.database }}."{{ paths.tables.user_segments }}$partitions"
)
