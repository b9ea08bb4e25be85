count(value_{i}) AS n_{i},
        sum(toDecimal256(ifNull(value_{i}, 0), 24)) AS sum_{i},
        sum(toDecimal256(ifNull(value_{i} * value_{i}, 0), 24)) AS squares_{i},
        sum(toDecimal256(log(if(value_{i} > 0, value_{i}, 1)), 24)) AS logs_{i},
        sum(toDecimal256(pow(log(if(value_{i} > 0, value_{i}, 1)), 2), 24)) AS log_squares_{i},
        {values} AS values_{i}
