count(value_{i}) AS n_{i},
        sum(toDecimal128(ifNull(value_{i}, 0), 12)) AS sum_{i},
        {squares} AS squares_{i},
        {log_n} AS log_n_{i},
        {logs} AS logs_{i},
        {log_squares} AS log_squares_{i},
        {values} AS values_{i}
