-- migrate: additive
-- Orders: what was asked, said, priced, confirmed and decided, the feed of their changes, the proposals that become
-- orders, and what an outlet's confirmed orders teach. Every key starts with the tenant.

alter table outlet add column zone text not null default ''; -- a key of the tenant's delivery zones; '': none

create table customer_order ( -- "order" is a reserved word
    tenant text not null,
    id text not null check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    number text not null check (number <> ''), -- for people; invoices are numbered after it
    outlet text not null,
    state text not null check (
        state in ('DRAFT', 'NEEDS_INFO', 'CONFIRMED', 'ACCEPTED', 'FULFILLING', 'COMPLETED', 'CANCELLED', 'REJECTED')
    ),
    revision integer not null default 1 check (revision > 0), -- of the lines; grows with each change after confirmation
    version bigint not null default 1, -- of the row; the etag
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    subtotal numeric(18, 4) not null check (subtotal > 0),
    fees numeric(18, 4) not null check (fees >= 0),
    tax numeric(18, 4) not null check (tax >= 0),
    total numeric(18, 4) not null,
    delivery_date date not null,
    note text not null default '',
    conversation text not null default '',
    proposal text, -- that was confirmed to make it
    hold_reasons text[] not null default '{}',
    decision_reason text not null default '', -- of the one who rejected or cancelled it
    duplicate_of text, -- the order that the customer was told of, asked by request `duplicate_asked`
    duplicate_asked uuid,
    confirmed_at timestamptz,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    primary key (tenant, id),
    unique (tenant, number),
    foreign key (tenant, outlet) references outlet (tenant, id),
    -- No order is free, and none is added up wrongly.
    check (total > 0 and total = subtotal + fees + tax)
);

create unique index customer_order_proposal on customer_order (tenant, proposal) where proposal is not null;
create index customer_order_newest on customer_order (tenant, outlet, create_time desc, id desc);
create index customer_order_newest_of_tenant on customer_order (tenant, create_time desc, id desc);
create index customer_order_confirmed on customer_order (tenant, outlet, confirmed_at) where confirmed_at is not null;

-- The lines of each revision; those of a confirmed one are never changed. Fees are lines without a SKU.
create table order_line (
    tenant text not null,
    order_id text not null,
    revision integer not null,
    position smallint not null,
    sku text collate "C" not null default '', -- '': a fee
    description text not null,
    quantity numeric(18, 4) not null check (quantity > 0),
    unit text not null default '',
    unit_price numeric(24, 9) not null check (unit_price > 0),
    tax_code text not null,
    tax_rate numeric(7, 6) not null check (tax_rate >= 0 and tax_rate < 1),
    line_total numeric(18, 4) not null check (line_total >= 0),
    line_tax numeric(18, 4) not null check (line_tax >= 0),
    provenance jsonb not null default '[]', -- [{message, start, end, confidence, said}]
    primary key (tenant, order_id, revision, position),
    foreign key (tenant, order_id) references customer_order (tenant, id)
);

-- What orders hold of counted products: taken at confirmation, given back when the order is called off.
create table order_stock (
    tenant text not null,
    order_id text not null,
    sku text collate "C" not null,
    quantity numeric(18, 4) not null check (quantity > 0),
    primary key (tenant, order_id, sku),
    foreign key (tenant, order_id) references customer_order (tenant, id)
);

-- The last event of each tenant. Its row is locked from the moment an event gets its number to the commit, so numbers
-- become visible in their order and without gaps: who has read up to n has missed nothing below n.
create table order_feed (
    tenant text primary key references tenant (id),
    last_seq bigint not null default 0
);

create table order_event (
    tenant text not null,
    seq bigint not null,
    event_id uuid not null,
    order_id text not null,
    outlet text not null,
    state text not null,
    time timestamptz not null default clock_timestamp(),
    snapshot jsonb not null, -- the order after the change, without its note, which may be erased
    primary key (tenant, seq),
    foreign key (tenant, order_id) references customer_order (tenant, id)
);

create index order_event_outlet on order_event (tenant, outlet, seq);

create table proposal (
    tenant text not null,
    id text not null check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    kind text not null check (kind in ('PLACE_ORDER', 'CHANGE_ORDER', 'CANCEL_ORDER')),
    outlet text not null,
    conversation text not null default '',
    language text not null,
    state text not null check (state in ('OPEN', 'CONFIRMED', 'REJECTED', 'EXPIRED', 'SUPERSEDED')),
    arguments jsonb not null, -- what is asked for: lines with provenance, delivery date, note
    shown jsonb not null, -- what the person sees: priced lines, fees, totals
    arguments_sha256 text not null check (arguments_sha256 ~ '^[0-9a-f]{64}$'),
    questions text[] not null default '{}',
    resource text, -- the order that it acts on, or that came of it
    resource_etag text not null default '',
    duplicate_of text, -- a similar order that the person was told of
    successor text, -- the proposal that took its place
    expires_at timestamptz not null,
    create_time timestamptz not null default now(),
    decide_time timestamptz,
    primary key (tenant, id),
    foreign key (tenant, outlet) references outlet (tenant, id)
);

create index proposal_conversation on proposal (tenant, conversation, create_time desc) where conversation <> '';

-- What an outlet usually orders, counted over its confirmed orders; one that is called off is counted out again.
create table outlet_habit (
    tenant text not null,
    outlet text not null,
    orders integer not null check (orders >= 0),
    total numeric(20, 4) not null, -- sum over these orders, in the tenant's currency
    primary key (tenant, outlet),
    foreign key (tenant, outlet) references outlet (tenant, id)
);

create table outlet_usual (
    tenant text not null,
    outlet text not null,
    sku text collate "C" not null,
    orders integer not null check (orders >= 0),
    quantity numeric(20, 4) not null, -- sum over these orders, in units of sale
    last_quantity numeric(18, 4) not null,
    last_time timestamptz not null,
    primary key (tenant, outlet, sku),
    foreign key (tenant, outlet) references outlet (tenant, id)
);

-- What an outlet calls a product, learnt from the words behind confirmed lines.
create table outlet_alias (
    tenant text not null,
    outlet text not null,
    alias text not null check (alias <> ''), -- in the spelling of server/order/product_terms.py
    sku text collate "C" not null,
    times integer not null default 1,
    last_time timestamptz not null,
    primary key (tenant, outlet, alias, sku),
    foreign key (tenant, outlet) references outlet (tenant, id)
);
