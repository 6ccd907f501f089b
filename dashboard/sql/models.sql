-- Every model
SELECT
    model_id, trained_on, training_reason, users, k, k_reason, decision, decision_reason,
    json_format(CAST(features AS json)) AS features
FROM {model_runs}
