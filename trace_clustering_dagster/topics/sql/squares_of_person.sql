sum(toDecimal256(ifNull(toFloat64(value_{i}) * toFloat64(value_{i}), 0), 24))
