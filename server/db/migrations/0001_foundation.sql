-- migrate: additive
-- Who uses the system (tenants, their outlets, internal services), what makes a retry safe, and what waits for the
-- audit log. Every row belongs to a tenant, and every key starts with it.

create table tenant (
    id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name text not null check (name <> ''),
    created_at timestamptz not null default now(),
    settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object')
);

create table outlet (
    tenant text not null references tenant (id),
    id text not null check (id <> ''),
    name text not null check (name <> ''),
    address text not null default '',
    language text not null default 'en', -- BCP 47: what the outlet is answered in when it does not say
    payment_terms_days smallint not null default 30 check (payment_terms_days between 0 and 365),
    minimum_order numeric(14, 2) not null default 0 check (minimum_order >= 0), -- in the tenant's currency, before tax
    order_cutoff time, -- local time of the tenant after which the next delivery day applies; null: none
    credit_hold boolean not null default false,
    active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant, id)
);

-- Keys of internal services (x-api-key). The secret is random and long, so one SHA-256 is enough; it is shown once.
create table api_key (
    key_id text primary key,
    tenant text not null references tenant (id),
    subject text not null check (subject <> ''),
    roles text[] not null check (cardinality(roles) > 0),
    secret_sha256 bytea not null check (octet_length(secret_sha256) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create index api_key_tenant on api_key (tenant);

-- The first answer to each write, replayed for 7 days. The row is inserted by the transaction of the write itself: a
-- second call with the same id waits on the primary key until the first one has committed or rolled back.
create table idempotency (
    tenant text not null,
    principal text not null,
    method text not null,
    request_id uuid not null,
    body_sha256 bytea not null check (octet_length(body_sha256) = 32),
    response bytea, -- null only inside the transaction that is about to fill it
    response_type text,
    created_at timestamptz not null default now(),
    primary key (tenant, principal, method, request_id)
);

create index idempotency_created_at on idempotency (created_at);

-- Audit leaves on their way into the log. `leaf` holds the canonical bytes, fixed in the business transaction; the
-- other columns repeat what the log is searched by, so that the sequencer need not decode them. Rows stay for
-- milliseconds, hence no index beyond the keys. `id` is handed out before commit: a smaller id may become visible after
-- a larger one.
create table audit_pending (
    id bigint generated always as identity primary key,
    tenant text not null,
    event_id uuid not null unique,
    occurred_at timestamptz not null,
    leaf bytea not null,
    action text not null,
    actor text not null,
    resource text not null default '',
    decision text not null,
    request_id text not null default ''
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_threshold = 5000);
