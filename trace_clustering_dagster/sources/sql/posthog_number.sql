-- A number, or a text that holds one; 0 for anything else.
ifNull(
        if(isFinite(toFloat64OrNull(trim(BOTH '"' FROM JSONExtractRaw(properties, '{argument}')))),
            toFloat64OrNull(trim(BOTH '"' FROM JSONExtractRaw(properties, '{argument}'))), 0),
        0
    )
