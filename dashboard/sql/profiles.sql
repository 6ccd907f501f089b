-- The segments of each of the dates; deviations as JSON, what sets a segment apart as text
SELECT
    snapshot_date, segment_id, segment_name, story, users, users_share,
    json_format(CAST(deviations AS json)) AS deviations,
    array_join(
        transform(distinctive_features, f -> concat(f.feature, ' ', format('%+.1f', f.standard_deviations))), ', '
    ) AS sets_it_apart,
    model_id
FROM {segment_profiles}
WHERE snapshot_date BETWEEN :first AND :last
ORDER BY snapshot_date, segment_id
