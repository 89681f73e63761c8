"""What check_monitor_liveness is made of; `program` is check_monitor_liveness.py itself.

A monitor has several components, and each usual probe sees one of them. So each monitor's module
tells all of them apart and gives each its own name:

    components    the values: Component, Health (a monitor, judged), Clock; pure
    settings      the command line, typed
    monitors/     one module per monitor: `found` (which run here), `observe` (all I/O), `judge`
                  (pure: an observation becomes a Health)
    observation   which monitors to ask, asking them at the same time, and the rest of the host
    judgement     what the Healths of a run mean together: excuses, restart loops, losses; pure
    report        how that is worded; pure
    history       what is remembered between two runs
    outward       the ping and the file that say elsewhere that all is well

Which module knows a monitor is decided in `observation`, which asks it and lets it judge what it
has observed. `judgement` and `report` take the Healths as values and know no monitor.
"""
