-- Size of every segment on the newest date
SELECT segment_id, segment_name, count(*) AS users, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent
FROM {database}.segments_current
GROUP BY segment_id, segment_name
ORDER BY segment_id
