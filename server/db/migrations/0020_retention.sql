-- migrate: additive
-- Retention finds what is too old by an index of its time, says what it could not remove, and an erasure that a later
-- legal hold keeps from its end waits for the hold's release.

create index order_event_time on order_event (time);
create index proposal_ended on proposal (greatest(expires_at, decide_time));
create index outlet_alias_last_time on outlet_alias (last_time);
create index subject_key_destroyed on subject_key (destroyed_at) where destroyed_at is not null;

alter table retention_run add column failed jsonb not null default '{}'; -- {kind: why}

alter table erasure add column held_at timestamptz; -- when the job found a hold placed since; null again once released
