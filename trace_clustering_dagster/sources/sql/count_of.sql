toInt64(if(isFinite(ifNull({argument}, 0)) AND ifNull({argument}, 0) BETWEEN 0 AND 1e15, ifNull({argument}, 0), 0))
