-- migrate: additive
-- The audit log: events with a sequence per tenant, the Merkle tree over them (RFC 9162), and signed checkpoints.
-- Everything here is written once. DECISIONS.md 37 says why it is laid out like this.

-- Who may append. `epoch` rises with every new leader; an append locks this row and compares, so that a leader that was
-- away for a while (and whose advisory lock went to another) can never append beside its successor.
create table audit_sequencer (
    singleton boolean primary key default true check (singleton),
    epoch bigint not null default 0,
    leader text not null default '',
    since timestamptz not null default now()
);

insert into audit_sequencer default values;

-- The head of each tenant's tree. `frontier` holds the roots of the perfect subtrees, largest first, 32 bytes each:
-- all that appending needs to know. `recorded_at` never goes back, whatever the clock does.
create table audit_tree (
    tenant text primary key,
    size bigint not null check (size >= 0),
    root bytea not null check (octet_length(root) = 32),
    frontier bytea not null check (octet_length(frontier) % 32 = 0),
    recorded_at timestamptz not null
);

-- One row an event. `leaf` holds the canonical bytes that were hashed; the columns after it repeat what is searched.
-- `resource` is the first target, `others` are the rest. By month, so that retention drops tables and deletes nothing;
-- `recorded_at` rises with seq, so a month is one range of seq for every tenant. The gap-free, unique seq is held by
-- audit_tree (a primary key over all partitions would have to hold recorded_at too), unique events by audit_event_id.
create table audit_event (
    tenant text not null,
    seq bigint not null check (seq >= 0),
    recorded_at timestamptz not null,
    event_id uuid not null,
    occurred_at timestamptz not null,
    leaf bytea not null,
    leaf_hash bytea not null check (octet_length(leaf_hash) = 32),
    kind text not null,
    action text not null,
    actor text not null,
    resource text not null,
    others text[] not null,
    decision text not null,
    request_id text not null,
    primary key (tenant, seq, recorded_at)
) partition by range (recorded_at);

create index audit_event_actor on audit_event (tenant, actor, seq);
create index audit_event_action on audit_event (tenant, action, seq);
create index audit_event_resource on audit_event (tenant, resource, seq);
create index audit_event_time on audit_event (tenant, occurred_at);
-- Most events are allowed, and most have one target: an index is worth its cost only for the others.
create index audit_event_decision on audit_event (tenant, decision, seq) where decision <> 'ALLOWED';
create index audit_event_others on audit_event using gin (others) where others <> '{}';

-- Every event that was ever appended, retention or not: a leaf that comes again (a replayed spool whose commit was in
-- doubt) is known, though its row left audit_pending long ago.
create table audit_event_id (
    event_id uuid primary key,
    tenant text not null,
    seq bigint not null
);

-- The tree, in tiles of 256 hashes as in C2SP tlog-tiles: tile (level, index) holds the roots of 256 perfect subtrees
-- of 256^level leaves each, and `root` the root over all of them. Only full tiles are stored; what is right of them is
-- read from audit_event (level 0) or from the roots of the level below.
create table audit_tile (
    tenant text not null,
    level smallint not null check (level between 0 and 7),
    index bigint not null check (index >= 0),
    root bytea not null check (octet_length(root) = 32),
    hashes bytea not null check (octet_length(hashes) = 8192),
    primary key (tenant, level, index)
);

alter table audit_tile alter column hashes set storage external; -- hashes do not compress

-- Leaf hashes of a tile that was not full yet when retention dropped its first events.
create table audit_leaf_kept (
    tenant text not null,
    seq bigint not null,
    leaf_hash bytea not null check (octet_length(leaf_hash) = 32),
    primary key (tenant, seq)
);

-- What retention has dropped: [first, last] of each tenant. Their hashes stay in the tree.
create table audit_retired (
    tenant text not null,
    first bigint not null,
    last bigint not null,
    partition text not null,
    retired_at timestamptz not null default now(),
    primary key (tenant, first)
);

-- Signed tree heads: C2SP signed notes. More than one row of a size: a new key has countersigned.
create table audit_checkpoint (
    tenant text not null,
    size bigint not null,
    key_id text not null, -- eight hexadecimal digits
    root bytea not null check (octet_length(root) = 32),
    note text not null,
    signed_at timestamptz not null default now(),
    primary key (tenant, size, key_id)
);

create index audit_checkpoint_signed_at on audit_checkpoint (signed_at);

-- Which checkpoint has arrived at which place outside the database.
create table audit_checkpoint_push (
    sink text not null,
    tenant text not null,
    size bigint not null,
    key_id text not null,
    signed_at timestamptz not null, -- the checkpoint's: what is older than a sink's newest has mostly arrived
    pushed_at timestamptz not null default now(),
    primary key (sink, tenant, size, key_id),
    foreign key (tenant, size, key_id) references audit_checkpoint
);

create index audit_checkpoint_push_signed_at on audit_checkpoint_push (sink, signed_at);

-- Pending rows that are no leaves: kept for a person to look at, in nobody's way.
create table audit_quarantine (
    id bigint primary key, -- of audit_pending
    tenant text not null,
    event_id uuid not null,
    occurred_at timestamptz not null,
    leaf bytea not null,
    reason text not null,
    quarantined_at timestamptz not null default now()
);

create function audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append-only: % of % is refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end $$;

create function audit_tree_grows() returns trigger language plpgsql as $$
begin
    if new.tenant <> old.tenant or new.size <= old.size or new.recorded_at < old.recorded_at then
        raise exception 'the audit log is append-only: the tree of % cannot go from % to %', old.tenant, old.size, new.size
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

do $$
declare
    name text;
begin
    foreach name in array array['audit_event', 'audit_event_id', 'audit_tile', 'audit_leaf_kept', 'audit_retired',
                                'audit_checkpoint', 'audit_checkpoint_push', 'audit_quarantine'] loop
        execute format('create trigger append_only before update or delete on %I '
                       'for each row execute function audit_refuse()', name);
        execute format('create trigger never_emptied before truncate on %I '
                       'for each statement execute function audit_refuse()', name);
        execute format('alter table %I enable always trigger append_only', name);
        execute format('alter table %I enable always trigger never_emptied', name);
    end loop;
end $$;

create trigger grows before update on audit_tree for each row execute function audit_tree_grows();
create trigger stays before delete on audit_tree for each row execute function audit_refuse();
create trigger never_emptied before truncate on audit_tree for each statement execute function audit_refuse();
create trigger fixed before update on audit_pending for each row execute function audit_refuse();

-- Makes the partition of the month of `at` unless it is there. Attached rather than created in place, which would lock
-- readers out.
create function audit_partition(at timestamptz) returns text language plpgsql as $$
declare
    month timestamptz := date_trunc('month', at, 'UTC');
    name text := 'audit_event_' || to_char(month at time zone 'UTC', 'YYYY_MM');
begin
    if to_regclass(name) is null then
        execute format('create table %I (like audit_event including defaults including constraints)', name);
        execute format('alter table audit_event attach partition %I for values from (%L) to (%L)',
                       name, month, (month at time zone 'UTC' + interval '1 month') at time zone 'UTC');
        execute format('create trigger never_emptied before truncate on %I '
                       'for each statement execute function audit_refuse()', name);
    end if;
    return name;
end $$;

select audit_partition(now()), audit_partition(now() + interval '1 month');

-- The only way out of the log: drops the partitions of the months that ended before `until`. Refuses what no checkpoint
-- has sealed yet, and keeps the hashes that the tree still needs. Returns what was dropped.
create function audit_retire(until timestamptz) returns setof audit_retired language plpgsql as $$
declare
    part record;
    unsealed text;
begin
    for part in
        select child.relname::text as name,
               to_timestamp(right(child.relname, 7) || '+00', 'YYYY_MMTZH') + interval '1 month' as ends
        from pg_inherits join pg_class child on child.oid = inhrelid
        where inhparent = 'audit_event'::regclass
        order by child.relname
    loop
        continue when part.ends > until or part.ends > now();
        execute format($sql$
            select tenant from %I as event group by tenant having max(seq) >= coalesce(
                (select max(size) from audit_checkpoint where audit_checkpoint.tenant = event.tenant), 0) limit 1
            $sql$, part.name) into unsealed;
        if unsealed is not null then
            raise exception 'no checkpoint covers the events of % in %', unsealed, part.name;
        end if;
        execute format($sql$
            insert into audit_leaf_kept
            select event.tenant, event.seq, event.leaf_hash from %I as event join audit_tree using (tenant)
            where event.seq >= audit_tree.size / 256 * 256
            $sql$, part.name);
        return query execute format($sql$
            insert into audit_retired (tenant, first, last, partition)
            select tenant, min(seq), max(seq), %L from %I group by tenant returning *
            $sql$, part.name, part.name);
        execute format('drop table %I', part.name);
    end loop;
end $$;
