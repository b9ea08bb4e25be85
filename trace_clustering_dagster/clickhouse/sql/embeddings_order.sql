ORDER BY (
    team_id, toDate(timestamp), product, document_type, model_name, rendering,
    cityHash64(document_id)
)
SETTINGS index_granularity = 512
