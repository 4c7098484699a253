-- migrate: additive
-- The questions that an operator wants answered ahead of time. Written by operators, never taken from customers.

create table warm_question (
    tenant text not null references tenant (id),
    ordinal integer not null,
    question text not null check (length(question) between 1 and 2000),
    primary key (tenant, ordinal)
);
