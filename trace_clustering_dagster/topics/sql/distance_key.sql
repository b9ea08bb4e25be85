toInt64(round(1e6 * (1 - ifNotFinite(dotProduct(vector, centroids[{position}]) / norm, 0)))) * 65536
+ {position}
