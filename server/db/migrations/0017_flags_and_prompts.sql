-- migrate: additive
-- Feature flags as tenants set them (what is not here has the default of server/ops/flags.py), and the versions of
-- prompts that answers were made with.

create table feature_flag (
    tenant text not null references tenant (id),
    id text not null check (id ~ '^[a-z][a-z0-9_]{0,62}$'),
    description text not null,
    enabled boolean not null,
    percent integer not null check (percent between 0 and 100),
    version bigint not null default 1,
    update_time timestamptz not null default now(),
    primary key (tenant, id)
);

-- Written when a server starts with a prompt that is not here yet: an audit record names the version, this its text.
create table prompt_version (
    version text primary key check (version ~ '^[0-9a-f]{12}$'),
    arm text not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    prompt text not null,
    first_used timestamptz not null default now()
);
