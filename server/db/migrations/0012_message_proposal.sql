-- migrate: additive
-- An answer that proposed something names it, so that whoever resumes its run after the log is gone is shown it again.

alter table message add column proposal text; -- bare id
