-- migrate: additive
-- Conversations, their messages, and the runs that answer them. The outlet comes from the caller's verified token, so
-- no row of `outlet` is required. Ids are made by the server; every key starts with the tenant.

create table conversation (
    tenant text not null,
    id text not null,
    outlet text not null,
    title text not null default '',
    locale text not null default '',
    controller text not null default 'ASSISTANT' check (controller in ('ASSISTANT', 'WAITING_FOR_STAFF', 'STAFF')),
    controller_epoch bigint not null default 1,
    session_id text, -- the caller's own id of the thread (Chat, StreamChat)
    last_ordinal bigint not null default 0, -- of the newest message; taken under the row's lock
    version bigint not null default 1,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    primary key (tenant, id)
);

create unique index conversation_session on conversation (tenant, outlet, session_id) where session_id is not null;
create index conversation_newest on conversation (tenant, outlet, create_time desc, id desc);
create index conversation_newest_of_tenant on conversation (tenant, create_time desc, id desc);

create table message (
    tenant text not null,
    conversation text not null,
    id text not null,
    ordinal bigint not null,
    author text not null check (author in ('CUSTOMER', 'ASSISTANT', 'STAFF')),
    text text not null,
    run text,
    client_message_id text,
    intent text,
    answer_kind text,
    confidence double precision,
    state text not null check (state in ('STREAMING', 'COMPLETE', 'PARTIAL')),
    citations jsonb not null default '[]',
    create_time timestamptz not null default now(),
    primary key (tenant, conversation, id),
    foreign key (tenant, conversation) references conversation (tenant, id)
);

create unique index message_ordinal on message (tenant, conversation, ordinal);
create unique index message_client_id on message (tenant, conversation, client_message_id)
where client_message_id is not null;

-- A run belongs to a process (`owner`) for as long as its lease is renewed; afterwards it is INTERRUPTED.
create table run (
    tenant text not null,
    conversation text not null,
    id text not null,
    message text not null,
    ordinal bigint not null, -- of that message: runs of a conversation take their turns in this order
    answer text,
    state text not null check (
        state in ('QUEUED', 'RUNNING', 'COMPLETED', 'CANCELLED', 'INTERRUPTED', 'FAILED')
    ),
    owner text not null,
    lease_until timestamptz not null,
    cancel_requested boolean not null default false,
    epoch bigint not null default 1,
    last_seq bigint not null default 0,
    model text not null default '',
    input_tokens bigint not null default 0,
    cached_input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    reasoning_tokens bigint not null default 0,
    cost_micros bigint not null default 0,
    currency text not null default 'USD',
    estimated boolean not null default false,
    time_to_first_token_ms bigint not null default 0,
    saved_micros bigint not null default 0,
    error_code integer, -- google.rpc.Code of a FAILED run
    error_reason text,
    error_message text,
    create_time timestamptz not null default now(),
    end_time timestamptz,
    primary key (tenant, conversation, id),
    foreign key (tenant, conversation) references conversation (tenant, id)
);

create index run_active on run (tenant, conversation, ordinal) where state in ('QUEUED', 'RUNNING');
create index run_lease on run (lease_until) where state in ('QUEUED', 'RUNNING');
create index run_owner on run (owner) where state in ('QUEUED', 'RUNNING');
create index run_ended on run (tenant, end_time) where end_time is not null;
