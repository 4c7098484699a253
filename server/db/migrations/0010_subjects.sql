-- migrate: additive
-- People, the keys that seal what they wrote, and what was promised about erasing and keeping it. A person appears as a
-- keyed reference (server/pii/people.py). A box is text sealed with its person's key (server/audit/sealing.py); the plain
-- columns of the same things in earlier files (message.text, conversation.title, customer_order.note and
-- decision_reason, proposal.questions) are empty from here on, and nothing reads them.

create table subject_key (
    tenant text not null,
    key_id uuid not null,
    person text not null, -- '': what is nobody's in particular
    wrapped bytea, -- sealed with a master key; null: destroyed, and with it everything that it sealed
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    primary key (tenant, key_id),
    check ((wrapped is null) = (destroyed_at is not null))
);

create unique index subject_key_current on subject_key (tenant, person) where wrapped is not null;

alter table conversation
add column person text not null default '', -- who began it
add column title_box bytea;

create index conversation_person on conversation (tenant, person) where person <> '';
create index conversation_stale on conversation (update_time);

alter table message
add column person text not null default '', -- who wrote it, or whom it answers
add column text_box bytea,
add column erased_at timestamptz;

create index message_person on message (tenant, person) where person <> '';

alter table customer_order
add column person text not null default '', -- who placed it
add column note_box bytea,
add column reason_box bytea; -- of decision_reason

create index customer_order_person on customer_order (tenant, person) where person <> '';

alter table order_line add column said_box bytea; -- the words behind each line, a JSON list beside `provenance`

create index order_event_order on order_event (tenant, order_id);

alter table proposal
add column person text not null default '', -- to whom it was made
add column words_box bytea; -- JSON: note, questions, and the words behind each line

create index proposal_person on proposal (tenant, person) where person <> '';

alter table outlet_alias
add column person text not null default '', -- whose words they were
add column alias_box bytea; -- then `alias` is a keyed hash

create index outlet_alias_person on outlet_alias (tenant, person) where person <> '';

alter table idempotency add column about text not null default ''; -- the person whom the kept answer is about

create index idempotency_about on idempotency (tenant, about) where about <> '';

-- While a person is on hold nothing of theirs is erased or grows too old.
create table legal_hold (
    tenant text not null,
    person text not null check (person <> ''),
    reason_box bytea not null,
    placed_by text not null,
    placed_at timestamptz not null default now(),
    primary key (tenant, person)
);

-- One row for each erasure: what was done in the transaction of the request, and what the worker found and did after.
create table erasure (
    tenant text not null,
    id uuid not null, -- also the event_id of its leaf
    person text not null,
    erased_at timestamptz not null default now(),
    stores jsonb not null, -- [{store, erased, kept, legal_basis}]
    signed_note text not null,
    verified_at timestamptz, -- when every store was found empty
    attempts integer not null default 0,
    primary key (tenant, id)
);

create index erasure_unverified on erasure (erased_at) where verified_at is null;

-- What each run of retention removed.
create table retention_run (
    id bigint generated always as identity primary key,
    started_at timestamptz not null,
    ended_at timestamptz not null default clock_timestamp(),
    removed jsonb not null -- {kind: rows}
);
