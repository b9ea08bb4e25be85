-- The space of the newest vectors that a deployment with a source wrote; '' without any.
SELECT argMax(toString(model_name), inserted_at)
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE product = {product:String} AND document_type = {document_type:String}
