timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND product = {product:String}
    AND document_type IN {document_types:Array(String)}
    AND {{rendering_of_row}} IN {renderings:Array(String)}
