-- Quotas, verified addresses, and sign-in by another service. The release before this one counts
-- nothing, verifies nothing and knows passwords only; what it writes is complete without these.

-- One row for each permit that was taken; a window slides over them.
create table usage (
    id bigint generated always as identity primary key,
    kind text not null check (kind in ('analysis', 'upload')),
    subject text not null,
    at timestamptz not null
);
create index usage_subject on usage (kind, subject, at);
create index usage_at on usage (at);

-- When it was shown that the address is the user's own.
alter table users add column verified_at timestamptz;

alter table links
    drop constraint links_purpose_check,
    add constraint links_purpose_check check (purpose in ('first-admin', 'password', 'verify'));

-- Who somebody is at another service (OpenID Connect): its issuer and its own name for the person.
create table identities (
    issuer text not null,
    subject text not null,
    user_id bigint not null references users on delete cascade,
    created_at timestamptz not null,
    used_at timestamptz not null,
    primary key (issuer, subject)
);
create index identities_user on identities (user_id);

-- A sign-in that was sent to another service and has not come back. Only digests of what the
-- browser and the address hold; the verifier is of no use without the code.
create table sign_ins (
    hash bytea primary key,
    browser bytea not null,
    nonce text not null,
    verifier text not null,
    next text not null,
    expires_at timestamptz not null
);
create index sign_ins_expires on sign_ins (expires_at);
