sum(toInt64(round(1e9 * pow(log(if(value_{i} > 0, value_{i}, 1)), {power}))))
