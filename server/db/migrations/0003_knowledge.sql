-- migrate: additive
-- The documents behind the answers: what was imported, its passages, and the words under which they are found. Vectors
-- live in Chroma and can be made again from these rows at any time.

create extension if not exists pg_trgm;
create extension if not exists btree_gin;

-- One row per tenant. `revision` grows with every change that may change an answer: caches key on it. Its row lock also
-- orders imports of one tenant, so that the counts of knowledge_term are exact and never deadlock.
create table knowledge_corpus (
    tenant text primary key references tenant (id),
    revision bigint not null default 0,
    chunks bigint not null default 0 check (chunks >= 0)
);

create table knowledge_document (
    tenant text not null references tenant (id),
    id text not null check (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    generation bigint not null, -- the corpus revision that wrote this row: names one state of the document
    revision text not null check (revision ~ '^[0-9a-f]{16}$'),
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    title text not null,
    filename text not null,
    media_type text not null,
    language text not null,
    size_bytes bigint not null check (size_bytes >= 0),
    chunk_count integer not null check (chunk_count > 0),
    analysis text not null, -- of the lexicon that made the terms; another one means: analyse again
    state text not null default 'INDEXING' check (state in ('INDEXING', 'INDEXED', 'INDEX_FAILED')),
    embedding_model text not null default '', -- whose vectors are in Chroma; empty until there are some
    imported_at timestamptz not null default now(),
    primary key (tenant, id)
);

create index knowledge_document_not_indexed on knowledge_document (imported_at) where state <> 'INDEXED';

-- Every revision that was ever current, with the words it said: a citation of an old answer can still be checked.
create table knowledge_revision (
    tenant text not null,
    document text not null,
    revision text not null,
    sha256 text not null,
    title text not null,
    sections jsonb not null check (jsonb_typeof(sections) = 'array'), -- [[[heading, ...], text], ...]
    imported_at timestamptz not null default now(),
    imported_by text not null default '',
    primary key (tenant, document, revision),
    foreign key (tenant, document) references knowledge_document (tenant, id) on delete cascade
);

-- Passages of the current revisions.
create table knowledge_chunk (
    tenant text not null,
    document text not null,
    ordinal integer not null check (ordinal >= 0),
    revision text not null,
    heading text not null,
    text text not null,
    language text not null,
    sha256 text not null,
    embedded_text text not null, -- what a model that knows English only is given
    terms tsvector not null, -- every search term, with those of heading and title
    heading_terms text[] not null,
    primary key (tenant, document, ordinal),
    foreign key (tenant, document) references knowledge_document (tenant, id) on delete cascade
);

create index knowledge_chunk_terms on knowledge_chunk using gin (tenant, terms);

-- In how many chunks of a tenant each term occurs.
create table knowledge_term (
    tenant text not null,
    term text not null,
    chunks bigint not null check (chunks >= 0),
    primary key (tenant, term)
);

create index knowledge_term_similar on knowledge_term using gin (tenant, term gin_trgm_ops);
