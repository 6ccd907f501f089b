-- The segments of a date; deviations as JSON, what sets a segment apart as text
SELECT
    segment_id, segment_name, story, users, users_share,
    json_format(CAST(deviations AS json)) AS deviations,
    array_join(
        transform(distinctive_features, f -> concat(f.feature, ' ', format('%+.1f', f.standard_deviations))), ', '
    ) AS sets_it_apart,
    model_id
FROM {segment_profiles}
WHERE snapshot_date = :date
ORDER BY segment_id
