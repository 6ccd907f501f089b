-- The models that scored the dates
SELECT
    model_id, trained_on, training_reason, users, k, k_reason, decision, decision_reason,
    json_format(CAST(features AS json)) AS features
FROM {model_runs}
WHERE model_id IN (SELECT model_id FROM {segment_profiles} WHERE snapshot_date BETWEEN :first AND :last)
