-- migrate: additive
-- Invoices: one row for each revision of an order that is to be invoiced, what Xero told us of changes, and how far its
-- changes were read. The posting and the confirmed totals of a row never change.

create table invoice (
    tenant text not null,
    order_id text not null,
    revision integer not null check (revision > 0),
    number text not null check (number <> ''), -- of the invoice, made from the order's number and the revision
    state text not null check (
        state in ('NOT_CONNECTED', 'QUEUED', 'WAITING_BUDGET', 'SENDING', 'OUTCOME_UNKNOWN', 'DRAFT', 'AUTHORISED',
                  'PAID', 'VOIDED', 'MISMATCH', 'NEEDS_ATTENTION')
    ),
    posting jsonb not null, -- as it is to be booked, with its number; numbers as text
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    subtotal numeric(18, 4) not null,
    tax numeric(18, 4) not null,
    total numeric(18, 4) not null,
    replaces integer, -- the revision before it, which is taken out of the books first
    withdrawn boolean not null default false, -- it is to leave the books: the order was called off or changed
    intent integer not null default 1, -- grows when somebody asks again; part of the jobs' dedupe keys
    turn bigint not null default 0, -- grows with each worker that takes it; an answer of an earlier turn is not recorded
    taken_until timestamptz, -- until then a worker has it
    attempts integer not null default 0, -- how often it was sent
    next_attempt_time timestamptz,
    send_key text not null default '', -- the idempotency key of its last sending, shared by all that went with it
    send_count smallint not null default 0, -- how many invoices went with that key
    first_sent_at timestamptz, -- when that key was first used
    in_doubt boolean not null default false, -- it may have arrived, and no answer said so
    read_first boolean not null default false, -- a person asked again: look at the books before sending
    alone boolean not null default false, -- a batch with it was refused as a whole
    absences smallint not null default 0, -- how often it was not found, minutes apart
    absent_at timestamptz,
    undo_key text not null default '', -- the idempotency key of its credit note
    undo_sent_at timestamptz,
    booked jsonb, -- as the books had it last; numbers as text
    booked_id text generated always as (booked ->> 'id') stored,
    error_reason text not null default '',
    error_message text not null default '',
    error_fix text not null default '',
    failed_at timestamptz, -- since when it needs a person
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    primary key (tenant, order_id, revision),
    unique (tenant, number),
    foreign key (tenant, order_id) references customer_order (tenant, id),
    check (total = subtotal + tax),
    check (state not in ('DRAFT', 'AUTHORISED', 'PAID', 'MISMATCH') or booked is not null),
    check (not in_doubt or first_sent_at is not null)
);

create index invoice_booked on invoice (tenant, booked_id);
create index invoice_waiting on invoice (tenant, create_time) where state in ('QUEUED', 'WAITING_BUDGET');
create index invoice_unsettled on invoice (update_time)
    where state in ('QUEUED', 'WAITING_BUDGET', 'SENDING', 'OUTCOME_UNKNOWN') or (withdrawn and state <> 'VOIDED');
create index invoice_sent on invoice (tenant, send_key) where send_key <> '';
create index invoice_failed on invoice (tenant, failed_at desc, number desc) where failed_at is not null;
create index invoice_not_connected on invoice (tenant)
    where state = 'NOT_CONNECTED' or error_reason = 'ACCOUNTING_NOT_CONNECTED';

-- Webhook events that came, each once; kept for a while, because they are delivered again when an answer was late.
create table webhook_event (
    organisation text not null, -- the books' own id of whose event it is
    resource text not null,
    event_date text not null,
    kind text not null,
    receive_time timestamptz not null default now(),
    primary key (organisation, resource, event_date, kind)
);

create index webhook_event_receive_time on webhook_event (receive_time);

-- The number of the last event that came: a jump means that some did not come. One row.
create table webhook_sequence (
    single boolean primary key default true check (single),
    last_sequence bigint not null
);

-- How far the changes of each tenant's books were read.
create table reconciliation (
    tenant text primary key references tenant (id),
    read_until timestamptz not null
);
