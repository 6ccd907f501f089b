-- The segments of a date; maps and arrays as JSON
SELECT
    segment_id, segment_name, story, users, users_share,
    json_format(CAST(centroid AS json)) AS centroid,
    json_format(CAST(deviations AS json)) AS deviations,
    json_format(CAST(distinctive_features AS json)) AS distinctive_features,
    model_id
FROM {segment_profiles}
WHERE snapshot_date = :date
ORDER BY segment_id
