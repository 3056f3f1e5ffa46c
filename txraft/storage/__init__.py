"""What must survive: the log, the term and the vote (Figure 2, persistent state).

Theory of operation
===================

A server may say "I have this entry" or "you have my vote" only when its disk would still say so after a power cut. The
node hands over `Save`s; the Deferred that it gets fires when all of them are durable, and what waits for that (votes,
acknowledgements) leaves only then.

    SaveQueue ──saves──> SQLiteStorage ──one job──> worker's thread: merge, encode, one transaction, one fsync
                              │
                         DirectoryLock: one process a directory

Snapshots are whole files beside it, written by another thread, and no fsync of theirs delays the log's by much (hazard
S11). What fails there is a transfer that failed, and the node goes on: the log has not lost anything.

The rooms, from the bottom up:

- `merging`    several saves made one, so that a group costs one transaction
- `directory`  a data directory that outlasts a power cut, and the lock on it
- `identity`   whose a directory is, which of them it is, and what a new one becomes
- `restoring`  makes the directory of a new node, of a backup; `recovering` a cluster of what one node has; `half_made`
  the signs that either was cut off
- `forgetting`  lifts what a node knows of another's directory
- `durable`    the record of what is known to be on the disk
- `raft_rows`  the tables of the SQLite file and their checksums; `raft_reading` checks and reads them
- `format_4`   what an earlier txraft has written, and how it is read
- `raft_file`  the SQLite file: how it is made and written. Blocks
- `bulk_checkpoint`  most of a checkpoint, on a thread that delays no write
- `sqlite`     `SQLiteStorage`: lock, file and worker as an `IStorage`
- `worker`     the thread on which files are written
- `memory`     `MemoryStorage`, its simple twin, under the same tests
- `snapshot_columns`  what a snapshot stands for, as columns and fields
- `snapshot_reading`  one file of a snapshot that is whole; `txraft.snapshot_writing` has it while it is written
- `snapshot_files`  `SnapshotFiles`, all of them, and the order in which one is installed
- `memory_snapshots`  its simple twin, under the same tests

What holds:

- Term, vote and entries of one call are one transaction: after a crash all of it is there, or none (hazard E1).
- `raft.sqlite` is made under another name and renamed when it is whole. So a file of that name without its tables, or
  without term and vote, is damage, and is never taken for a new server that has promised nothing.
- The log may begin later than at entry 1: after what was compacted, or after a snapshot. Where it begins, and the
  membership as of there, is written in the transaction that deletes what is before. SQLite uses the pages of deleted
  entries again, so the file stays as large as it ever was, and does not grow.
- The members and their addresses are what the log says, and what a new directory was made with stands where it begins.
  No edited file changes them (hazard E14).
- A file in the format before this one is read as it is, and made one of this format by the start that counts.
- Every row carries a CRC-32, and those of the entries are a chain. What does not match, and a gap, end the start with a
  line that names the place (hazard S4).
- A start that finds less than was durable is refused: SQLite takes a bit that flipped in its write-ahead log for the
  log's end (hazard S15). Saves are numbered, the rows carry the number of their save, and `raft.sqlite-durable` says
  which were done. It is written after each save and not synced, which costs some microseconds. So it is exact after a
  crash of the process, and may be older after a power cut, which may also have torn the last write.
- A start changes nothing in a file that it refuses. There is no repair: a server that forgot part of its log or its
  vote can make the cluster lose what it acknowledged. It starts anew when the others have gone on without it, by the
  steps of the README's "A disk is lost" (hazard S6).
- The first write that fails is the last: after a failed fsync nobody knows what the disk has, and a second fsync would
  say that all is well (hazard S1). The node ends. Started again, it reads what is really there.
- Checkpoints are called, never left to SQLite, which swallows their errors; one that fails ends the node as any other
  write does (hazard S16). Nothing but `start` opens a file (hazard S19).
- What is drawn at a start of a node is durable before `load` is over, so before anybody hears of it; and whom the node
  met is before it takes part in anything with them (`IPeerMemory`). By that a directory that forgot is told from the
  one that promised (hazards S6, M7). Both are in `raft.sqlite`. A bit that flips in its `-wal` can hide only the
  latest meeting, until the next checkpoint.
- Between `load` and `start` no connection and no thread exists: a process that becomes a daemon forks there,
  and an SQLite connection does not cross a fork. The lock does.
"""
