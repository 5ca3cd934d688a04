-- Every query of the SQLite journal. A line `-- name:` begins one; the comment below it says what for.
-- Reads that may find many rows answer in one row, as JSON and as one blob of everything joined: stepping row by row would hand the
-- interpreter's lock over for each.

-- name: insert_run
-- Append rows of the log; the code repeats the placeholders for many rows at once.
INSERT INTO run (position, instance, name, before, events, hash, more, turns, state, state_checksum, chain)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: load_run
-- Append rows of the log that hold an outcome as it came, of one turn, without a state.
INSERT INTO run (position, instance, name, before, events, hash, turns, state_checksum, chain)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)

-- name: put_instance
-- Write a state that has no row of the log to stand in.
INSERT INTO instance (number, name, version, state, state_checksum)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET version = excluded.version, state = excluded.state, state_checksum = excluded.state_checksum
WHERE excluded.version >= instance.version

-- name: put_pending
-- Add or replace pending entries; the code repeats the placeholders for many rows at once.
INSERT OR REPLACE INTO pending (number, content, checksum)
VALUES (?, ?, ?)

-- name: delete_pending
-- Forget pending entries by a JSON array of their numbers.
DELETE FROM pending WHERE number IN (SELECT value FROM json_each(?))

-- name: read_pending
-- Everything pending, in order.
SELECT number, content, checksum FROM pending ORDER BY number

-- name: insert_catalog
-- Append one catalog version.
INSERT INTO catalog (version, content, checksum) VALUES (?, ?, ?)

-- name: last_catalog
-- The newest catalog version, 0 if there is none.
SELECT coalesce(max(version), 0) FROM catalog

-- name: read_catalogs
-- The catalog versions above one.
SELECT version, content, checksum FROM catalog WHERE version > ? ORDER BY version

-- name: last_run
-- Where the log ends, and its chain's value there.
SELECT position, chain FROM run ORDER BY position DESC LIMIT 1

-- name: last_position
-- Where the log ends, 0 if it is empty.
SELECT coalesce(max(position), 0) FROM run

-- name: last_instance
-- The highest instance number, 0 if there is none.
SELECT coalesce(max(number), 0) FROM instance

-- name: indexed_position
-- Up to where the log is indexed.
SELECT value FROM meta WHERE name = 'indexed_position'

-- name: hash_modulus
-- The prime that this file's hashes are made with.
SELECT value FROM meta WHERE name = 'hash_modulus'

-- name: draw
-- A random number of 64 bits; SQLite's generator is seeded by the operating system.
SELECT random()

-- name: put_hash_modulus
-- Keep it, once.
INSERT OR IGNORE INTO meta (name, value) VALUES ('hash_modulus', ?)

-- name: last_hash
-- The last row's first hash, and its content.
SELECT hash, turns FROM run ORDER BY position DESC LIMIT 1

-- name: index_commands
-- Index the Commands of the rows in (?1, ?2]. Sorting them first would cost more than it saves: a segment's pages are in the cache.
INSERT OR IGNORE INTO command_index (segment, hash, position)
SELECT position >> 15, hash, position FROM run WHERE position > ?1 AND position <= ?2
UNION ALL
SELECT r.position >> 15, h.value, r.position FROM run AS r CROSS JOIN json_each(r.more) AS h
WHERE r.position > ?1 AND r.position <= ?2 AND r.more IS NOT NULL

-- name: index_runs
-- Index the rows with events in (?1, ?2].
INSERT INTO run_index (segment, instance, before, position)
SELECT position >> 15, instance, before, position FROM run
WHERE position > ?1 AND position <= ?2 AND events > 0

-- name: index_instances
-- Give each instance that begins in (?1, ?2] its row, and bring the others to their latest state; one written directly for the same
-- or a later version stays. Only an instance's first row has its name, the others find that row there.
INSERT INTO instance (number, name, version, state, state_checksum)
SELECT instance, coalesce(name, ''), before + events, state, state_checksum FROM run
WHERE position > ?1 AND position <= ?2 AND (events > 0 OR name IS NOT NULL)
ON CONFLICT (number) DO UPDATE SET version = excluded.version, state = excluded.state, state_checksum = excluded.state_checksum
WHERE excluded.version > instance.version

-- name: set_indexed_position
-- Move the mark.
UPDATE meta SET value = ? WHERE name = 'indexed_position'

-- name: all_hashes
-- The hash of every Command that is indexed.
SELECT hash FROM command_index

-- name: find_instances
-- Instances by a JSON array of names: [place in the array, number, version, size of the state, its checksum], and the states that
-- are not big, joined in the same order.
SELECT json_group_array(json_array(place, number, version, size, state_checksum)),
    CAST(group_concat(CASE WHEN size <= 5120 THEN state END, '') AS BLOB)
FROM (SELECT w.key AS place, i.*, length(i.state) AS size FROM json_each(?) AS w CROSS JOIN instance AS i ON i.name = w.value)

-- name: find_places
-- Instances by a JSON array of names: [place in the array, number, version].
SELECT json_group_array(json_array(w.key, i.number, i.version)) FROM json_each(?) AS w CROSS JOIN instance AS i ON i.name = w.value

-- name: list_entities
-- The names of all instances up to the last slash, each once: from one Entity's first instance to that of the next.
WITH RECURSIVE first(name) AS (SELECT min(name) FROM instance
    UNION ALL SELECT (SELECT min(i.name) FROM instance AS i WHERE i.name >= rtrim(rtrim(first.name, replace(first.name, '/', '')), '/') || '0')
        FROM first WHERE first.name IS NOT NULL)
SELECT json_group_array(rtrim(name, replace(name, '/', ''))) FROM first WHERE name IS NOT NULL

-- name: has_events
-- Whether any instance whose name is between two has an event.
SELECT EXISTS (SELECT 1 FROM instance WHERE name > ?1 AND name < ?2 AND version > 0)

-- name: list_instances
-- The same for a page of names between two, with the name in place of the place.
SELECT json_group_array(json_array(name, number, version, size, state_checksum)),
    CAST(group_concat(CASE WHEN size <= 5120 THEN state END, '') AS BLOB)
FROM (SELECT *, length(state) AS size FROM instance WHERE name > ?1 AND name < ?2 AND version > 0 ORDER BY name LIMIT ?3)

-- name: instance_state
-- One instance's state, however big.
SELECT version, state, state_checksum FROM instance WHERE number = ?

-- name: find_commands
-- Positions of the rows that hold one of the hashes in the JSON array ?1, in segments 0 to ?2.
WITH RECURSIVE s(segment) AS (SELECT 0 UNION ALL SELECT segment + 1 FROM s WHERE segment < ?2)
SELECT json_group_array(c.position)
FROM json_each(?1) AS w CROSS JOIN s CROSS JOIN command_index AS c ON c.segment = s.segment AND c.hash = w.value

-- name: stream_segments
-- In which of the segments 0 to ?2 the instance ?1 has rows with events: [segment, first before].
WITH RECURSIVE s(segment) AS (SELECT 0 UNION ALL SELECT segment + 1 FROM s WHERE segment < ?2),
    b(segment, before) AS (SELECT s.segment, (SELECT x.before FROM run_index AS x
        WHERE x.segment = s.segment AND x.instance = ?1 ORDER BY x.before LIMIT 1) FROM s)
SELECT json_group_array(json_array(segment, before)) FROM b WHERE before IS NOT NULL

-- name: stream_positions
-- Rows of instance ?1 in segments ?2 to ?3, from the one that holds version ?4 + 1, at most ?5; without a sorter, for both loops run
-- in order.
WITH RECURSIVE s(segment) AS (SELECT ?2 UNION ALL SELECT segment + 1 FROM s WHERE segment < ?3)
SELECT json_group_array(position) FROM (
    SELECT x.position FROM s CROSS JOIN run_index AS x ON x.segment = s.segment AND x.instance = ?1
        AND x.before >= coalesce((SELECT before FROM run_index
            WHERE segment = ?2 AND instance = ?1 AND before <= ?4 ORDER BY before DESC LIMIT 1), ?4)
    LIMIT ?5)

-- name: feed_page
-- At most ?3 rows in (?1, ?2], joined, unless they are big: how many, the last position, their size, the chain's value before the
-- first and at the last, and the rows that are not big.
SELECT count(*), max(position), sum(size), coalesce((SELECT chain FROM run WHERE position = ?1), 0), chain,
    CAST(group_concat(CASE WHEN size <= 16384 THEN turns END, '') AS BLOB)
FROM (SELECT position, turns, chain, length(turns) AS size FROM run
    WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3)

-- name: read_rows
-- Rows of the log by a JSON array of positions: [position, size, chain's value there, and before it] of each, and the rows that are
-- not big, joined in the same order.
SELECT json_group_array(json_array(position, size, chain, previous)),
    CAST(group_concat(CASE WHEN size <= 16384 THEN turns END, '') AS BLOB)
FROM (SELECT r.position, r.turns, r.chain, length(r.turns) AS size,
        coalesce((SELECT p.chain FROM run AS p WHERE p.position = r.position - 1), 0) AS previous
    FROM json_each(?) AS w CROSS JOIN run AS r ON r.position = w.value)

-- name: row_turns
-- One row's turns, however big.
SELECT turns FROM run WHERE position = ?

-- name: audit_runs
-- Every row of the log in order.
SELECT position, instance, name, before, events, hash, more, turns, state, state_checksum, chain
FROM run WHERE position > ? ORDER BY position

-- name: audit_instances
-- Every row of the log by instance, beside that instance's row; the states where their checksums differ.
SELECT r.instance, r.position, r.before, r.events, r.name, r.state_checksum,
    i.name, i.version, i.state_checksum,
    CASE WHEN r.state_checksum <> i.state_checksum THEN r.state END,
    CASE WHEN r.state_checksum <> i.state_checksum THEN i.state END
FROM run AS r LEFT JOIN instance AS i ON i.number = r.instance ORDER BY r.instance, r.position

-- name: audit_states
-- Every instance's state.
SELECT number, name, version, state, state_checksum FROM instance

-- name: audit_strays
-- Instances without any row of the log.
SELECT number FROM instance WHERE number NOT IN (SELECT instance FROM run WHERE name IS NOT NULL)

-- name: audit_missing_commands
-- Rows whose Commands are not all indexed.
SELECT r.position FROM run AS r WHERE NOT EXISTS (
    SELECT 1 FROM command_index AS c WHERE c.segment = r.position >> 15 AND c.hash = r.hash AND c.position = r.position)
UNION
SELECT r.position FROM run AS r CROSS JOIN json_each(r.more) AS h WHERE r.more IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM command_index AS c WHERE c.segment = r.position >> 15 AND c.hash = h.value AND c.position = r.position)

-- name: audit_stray_commands
-- Indexed Commands that are not in their row.
SELECT c.position FROM command_index AS c LEFT JOIN run AS r ON r.position = c.position
WHERE r.position IS NULL OR c.hash <> r.hash AND (r.more IS NULL OR c.hash NOT IN (SELECT value FROM json_each(r.more)))

-- name: audit_missing_runs
-- Rows with events that are not indexed.
SELECT r.position FROM run AS r WHERE r.events > 0 AND NOT EXISTS (
    SELECT 1 FROM run_index AS x WHERE x.segment = r.position >> 15 AND x.instance = r.instance AND x.before = r.before
        AND x.position = r.position)

-- name: audit_stray_runs
-- Indexed rows that are not like that.
SELECT x.position FROM run_index AS x LEFT JOIN run AS r ON r.position = x.position
WHERE r.position IS NULL OR r.instance <> x.instance OR r.before <> x.before OR r.events = 0

-- name: audit_repeated
-- Rows that share a Command's hash.
SELECT hash, json_group_array(position) FROM command_index GROUP BY hash HAVING count(*) > 1

-- name: read_reached
-- How far each topic is read.
SELECT topic, identity, next_offset FROM reached

-- name: proven_position
-- Up to where the events are held against the outcomes, if that is not everywhere.
SELECT value FROM meta WHERE name = 'proven_position'

-- name: put_proven_position
-- Remember it, where it is not remembered yet.
INSERT OR IGNORE INTO meta (name, value) VALUES ('proven_position', ?)

-- name: delete_proven_position
-- It is everywhere again.
DELETE FROM meta WHERE name = 'proven_position'

-- name: put_reached
-- Move such a mark; the code repeats the placeholders for many rows at once.
INSERT OR REPLACE INTO reached (topic, identity, next_offset) VALUES (?, ?, ?)

-- name: read_inputs
-- How far each source of Commands is done with.
SELECT source, next_offset, identity, anew FROM input

-- name: put_inputs
-- Move such a mark.
INSERT OR REPLACE INTO input (source, next_offset, identity, anew) VALUES (?, ?, ?, ?)

-- name: forget_pending
-- Forget everything pending.
DELETE FROM pending
