toValidUTF8(leftUTF8(ifNull({argument}, ''), 1000))
