tuple(sum(n_{i}), uniqExactArray(values_{i})) AS amount_{i}
