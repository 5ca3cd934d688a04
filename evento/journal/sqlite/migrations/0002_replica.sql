-- What a replica keeps besides; empty in a journal of its own.
-- Of a replica of a partition that is kept elsewhere (kafka/replica.py): how far its topics are read, and which topics they are.
CREATE TABLE reached (
    topic TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    next_offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- How far the sources of Commands that come in without the platform are done with.
CREATE TABLE input (
    source TEXT PRIMARY KEY,
    next_offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
