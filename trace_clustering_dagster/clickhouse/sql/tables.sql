-- `trace-clustering schema --grants USER` prints the rights on these tables that a user needs.

{tables}
