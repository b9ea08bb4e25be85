toValidUTF8(
        if(
            length({argument}) <= 16000 OR lengthUTF8({argument}) <= 16000,
            {argument},
            concat(leftUTF8({argument}, 8000), '\n[...]\n', rightUTF8({argument}, 8000))
        )
    )
