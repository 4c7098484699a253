-- migrate: additive
-- What every device of a conversation sees, in one order: a row is written by the transaction of what it tells of, and
-- numbered without gaps under the lock of the conversation's row. Texts stay in `message`, where they can be erased.

alter table conversation add column last_event bigint not null default 0;

create table conversation_event (
    tenant text not null,
    conversation text not null,
    seq bigint not null,
    time timestamptz not null default clock_timestamp(),
    kind text not null check (kind in ('MESSAGE', 'CONTROLLER_CHANGED', 'ORDER_CHANGED', 'RUN_STARTED')),
    facts jsonb not null, -- ids, states and closed words only
    primary key (tenant, conversation, seq),
    foreign key (tenant, conversation) references conversation (tenant, id) on delete cascade
);
