sum(toDecimal256(ifNull(value_{i} * value_{i}, 0), 24))
