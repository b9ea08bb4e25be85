-- `trace-clustering schema --grants USER` prints the rights that a user needs on these tables.

{tables}
