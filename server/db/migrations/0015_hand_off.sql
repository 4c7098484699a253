-- migrate: additive
-- People in conversations: who speaks, who waits for whom since when and why, and what was thought of the answers.

alter table conversation
    add column holder text not null default '', -- reference of the member of staff who has taken over
    add column controller_reason text not null default ''; -- of the last change of controller

-- The controller's epoch when the message came: the answer is good under that one only.
alter table run add column controller_epoch bigint not null default 1;

-- One row each time that a person is asked for or steps in; open until the assistant speaks again.
create table hand_off (
    tenant text not null,
    conversation text not null,
    epoch bigint not null, -- of the change of controller that made it
    reason text not null check (
        reason in (
            'ASKED', 'COMPLAINT', 'FOOD_SAFETY', 'LOW_CONFIDENCE', 'MISUNDERSTOOD_THREE_TIMES', 'ORDER_HELD',
            'STEPPED_IN'
        )
    ),
    level smallint not null check (level between 1 and 3),
    note_box bytea, -- sealed with the key of `person`
    person text not null default '', -- reference of who asked
    order_id text not null default '', -- bare id of the order that waits for staff
    request_time timestamptz not null default now(),
    due_time timestamptz not null,
    take_time timestamptz, -- when somebody first took over
    close_time timestamptz,
    primary key (tenant, conversation, epoch),
    foreign key (tenant, conversation) references conversation (tenant, id) on delete cascade
);

create unique index hand_off_open on hand_off (tenant, conversation) where close_time is null;
create index hand_off_queue on hand_off (tenant, level desc, request_time, conversation)
where close_time is null and take_time is null;
create index hand_off_person on hand_off (tenant, person) where person <> '';

-- What somebody thought of a message of the desk; one row for each person and message.
create table message_feedback (
    tenant text not null,
    conversation text not null,
    message text not null,
    person text not null,
    rating text not null check (rating in ('HELPFUL', 'NOT_HELPFUL')),
    comment_box bytea, -- sealed with the key of `person`
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    primary key (tenant, conversation, message, person),
    foreign key (tenant, conversation) references conversation (tenant, id) on delete cascade
);

create index message_feedback_person on message_feedback (tenant, person);
