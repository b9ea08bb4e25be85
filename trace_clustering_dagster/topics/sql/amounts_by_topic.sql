tuple(
        sum(n_{i}),
        -- by way of texts: a decimal of this scale is divided by a number that no float holds
        toFloat64(toString(sum(sum_{i}))),
        toFloat64(toString(sum(squares_{i}))),
        sum(log_n_{i}),
        sum(logs_{i}) / 1e9,
        sum(log_squares_{i}) / 1e9,
        -- the two busiest persons
        groupArraySortedIf(2)(
            (
                -toFloat64(toString({busy}_{i})),
                -toInt64(n_{i}),
                -toFloat64(toString(sum_{i}))
            ),
            person != 0 AND n_{i} > 0
        ),
        quantilesExactArray(0.5, 0.95)(values_{i})
    ) AS amount_{i}
