-- What runs, `check` and `clusters` need. They also read system.tables and system.columns, which
-- show any user the tables that it may use.
{rights}

-- What `forget` needs as well. It allows to remove any event: leave it out, or grant it to another
-- user, who needs the rights above too.
{rights_to_forget}
