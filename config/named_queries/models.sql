-- Every model that was trained: why, with which k, what was decided of it and why
SELECT trained_on, model_id, training_reason, users, k, k_reason, decision, decision_reason, champion_from
FROM {database}.{tables.model_runs}
ORDER BY trained_on DESC, model_id
