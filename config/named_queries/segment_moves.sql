-- Moves between segments on the newest date, the largest first
SELECT from_segment_id, to_segment_id, users, snapshot_date
FROM {database}.{tables.segment_transitions}
WHERE snapshot_date = (
        SELECT max("partition".snapshot_date) FROM {database}."{tables.segment_transitions}$partitions"
    )
    AND from_segment_id IS DISTINCT FROM to_segment_id
ORDER BY users DESC, from_segment_id, to_segment_id
