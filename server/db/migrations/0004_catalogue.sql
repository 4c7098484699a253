-- migrate: additive
-- What a tenant sells, and for how much since when. A price is never overwritten: it ends, and the next one begins.

-- Word similarity, so that a name typed wrongly still finds its product; a trusted extension of every PostgreSQL.
create extension if not exists pg_trgm;

create table product (
    tenant text not null references tenant (id),
    sku text collate "C" not null check (sku ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'), -- "C": pages are in byte order
    name text not null check (name <> ''),
    name_zh text not null default '',
    name_ms text not null default '',
    aliases text[] not null default '{}',
    unit text not null check (unit <> ''),
    pack_size integer not null check (pack_size > 0),
    tax_code text not null check (tax_code <> ''),
    min_quantity numeric(14, 4) not null default 1 check (min_quantity > 0), -- in units of sale
    stock numeric(14, 4) check (stock >= 0), -- in units of sale; null: not counted
    category text not null default '',
    active boolean not null default true,
    -- Cut by server/order/product_terms.py, which knows sizes and Chinese; no text search dictionary does.
    search_terms tsvector not null,
    search_text text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant, sku)
);

-- "pb-12" and "PB-12" are one product to everybody who reads an invoice.
create unique index product_sku_any_case on product (tenant, lower(sku));
create index product_search_terms on product using gin (search_terms);
create index product_search_text on product using gin (search_text gin_trgm_ops);

create table product_price (
    tenant text not null,
    sku text collate "C" not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    amount numeric(24, 9) not null check (amount > 0), -- for one unit of sale, before tax
    valid_from timestamptz not null,
    valid_to timestamptz check (valid_to > valid_from), -- null: still valid
    primary key (tenant, sku, valid_from),
    foreign key (tenant, sku) references product (tenant, sku) on delete cascade
);

-- One price at a time.
create unique index product_price_current on product_price (tenant, sku) where valid_to is null;

-- Counts changes of a tenant's catalogue; cached answers carry it in their key. Its row also makes imports take turns.
create table catalogue_revision (
    tenant text primary key references tenant (id),
    revision bigint not null default 0,
    changed_at timestamptz not null default now()
);
