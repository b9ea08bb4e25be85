timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND product = {product:String}
    AND document_type = {document_type:String}
    AND rendering IN {renderings:Array(String)}
