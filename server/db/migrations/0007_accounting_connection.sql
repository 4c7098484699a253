-- migrate: additive
-- How a tenant is connected to its books. The tokens are sealed with the master keys of the configuration, so a copy of
-- the database cannot use them.

create table accounting_connection (
    tenant text primary key references tenant (id),
    state text not null check (state in ('CONNECTED', 'DISCONNECTED')),
    organisation_id text not null, -- theirs
    organisation text not null,
    scopes text[] not null default '{}',
    sealed_tokens bytea, -- null when there are none to use
    token_expires_at timestamptz,
    version bigint not null default 1, -- of the tokens: who renews them names the ones that were replaced
    renewing_until timestamptz, -- one process at a time renews; what it holds ends by itself when it dies
    last_success timestamptz,
    last_error text not null default '',
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    check (state = 'DISCONNECTED' or sealed_tokens is not null)
);
