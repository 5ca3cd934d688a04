-- What the migrations add up to; a test holds the two together. `run` is the log, the rest of it is derived or small.
CREATE TABLE run (
    position INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    name TEXT,                        -- 'namespace/Entity/id', only in the first row of an instance
    before INTEGER NOT NULL,
    events INTEGER NOT NULL,
    hash INTEGER NOT NULL,            -- of the first turn's Command, 63 bits
    more TEXT,                        -- JSON: the hashes of the other turns' Commands, if there are any
    turns BLOB NOT NULL,              -- everything that a reader wants; see layout.py
    state BLOB,                       -- NULL: unchanged, or written to instance by the same commit, or thrown away
    state_checksum INTEGER NOT NULL,  -- 0: there never was a state here
    chain INTEGER NOT NULL            -- checksum of `turns` in all rows up to this one
) STRICT;
CREATE TABLE instance (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,        -- 'namespace/Entity/id'
    version INTEGER NOT NULL,
    state BLOB,
    state_checksum INTEGER NOT NULL
) STRICT;
-- Segments of 2^15 positions keep the pages that one index round touches few, however long the log is.
CREATE TABLE command_index (
    segment INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (segment, hash, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_index (
    segment INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    before INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (segment, instance, before)
) STRICT, WITHOUT ROWID;
CREATE TABLE pending (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE catalog (
    version INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('indexed_position', 0);
-- Of a replica of a partition that is kept elsewhere (kafka/replica.py): how far its topics are read, and which topics they are.
CREATE TABLE reached (
    topic TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    next_offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- How far the sources of Commands that come in without the platform are done with.
CREATE TABLE input (
    source TEXT PRIMARY KEY,
    next_offset INTEGER NOT NULL,
    identity TEXT NOT NULL DEFAULT '',  -- which one it was; '' if nobody noted it
    anew INTEGER NOT NULL DEFAULT 0     -- 1: one before it had the same name
) STRICT, WITHOUT ROWID;
