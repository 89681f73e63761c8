"""Monitors, one module each: what can be observed of them from outside, and what it means.

A monitor has several components, and each usual probe sees one of them: with Nagios' workers
stopped its status file stays fresh and its query handler answers; with Icinga's process spawner
stopped its API answers and its built-in checks go on. So every module here tells all components
apart and gives each its own name.

A module has three parts. `found(processes)` says which instances run on this host, from the
process table alone. `observe(target, settings, processes, history)` does all I/O, ends every
foreign exception, and returns an Observation. `judge(observation, settings, clock, history)` is
pure and returns a Health; `history` are the facts of the Health before. Parsers are functions from
bytes to dataclasses.

What they share: `targets` (instances), `processes` (their table), `answers` (HTTP), `sockets`,
`fifo` and `parallel`. What goes wrong in asking is an exception of the tree in `kit.http`, for
other sockets too; an Observation keeps it as its `failure`.
"""
