count(value_{i}) AS n_{i},
        groupUniqArray(value_{i}) AS values_{i}
