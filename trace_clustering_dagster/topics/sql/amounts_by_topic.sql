tuple(
        sum(n_{i}),
        toFloat64(sum(sum_{i})),
        toFloat64(sum(squares_{i})),
        toFloat64(sum(logs_{i})),
        toFloat64(sum(log_squares_{i})),
        -- the two busiest persons
        groupArraySortedIf(2)(
            (-toFloat64({busy}_{i}), -toInt64(n_{i}), -toFloat64(sum_{i})), person != 0 AND n_{i} > 0
        ),
        quantilesExactArray(0.5, 0.95)(values_{i})
    ) AS amount_{i}
