-- Removing a branch removes its issues of every state, which no partial index serves: it read all
-- issues of all projects. On a large table this takes a minute, during which uploads wait.

create index issues_branch on issues (branch_id);
