-- Rights for runs, `check` and `clusters`. They also read system.tables and system.columns, which
-- show every user the tables that it may use.
{rights}

-- Additional rights for `forget`. They allow deleting any {deletable}: leave them out, or grant them to
-- another user, together with the rights above.
{rights_to_forget}
