-- migrate: additive
-- What another process needs to take a run over, to merge messages into it, and to see that somebody waits for it.

alter table run
add column told boolean not null default false, -- something of the answer was shown: it is not made anew any more
add column newest bigint not null default 0, -- ordinal of the newest message that it answers; 0: of its first
add column followed_at timestamptz, -- when a process that does not have the run last had followers of it
add column asker_box bytea; -- who asked, sealed with the person's key; emptied at the end
