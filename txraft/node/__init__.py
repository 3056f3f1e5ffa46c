"""One node: a core with its disk, its peers, its timers and its state machine, and the face that it shows.

A request's way, from the outside in; each knows only those below it:

- `replica`           any request, on any node: finds the leader, passes on, tells outcomes apart
- `driver`            `Node`, one core driven: inputs in, outputs carried out
- `snapshots`         the state machine, the snapshots of it, and what of the log they make superfluous:
  `apply_queue` is the way into the state machine, `compaction` cuts the log, `snapshot_sending` and
  `snapshot_receiving` are the two sides of a transfer
- `pending_requests`  those who wait: for an entry, a read index, a change of leader
- `handing_over`      how a transfer of leadership ends, and the one before a stop
- `timers`            when an election or a heartbeat is due
- `save_queue`        what is on its way to the disk, and the messages that wait for it
- `reporting`         what a node says in its log of elections
"""
