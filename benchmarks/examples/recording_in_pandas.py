#!/usr/bin/env python3
"""What a recording holds, with pandas alone: nothing of kepler-ebpf is needed to read it. Each part is a cell.

    sudo kepler-ebpf record -o run.arrows -- make test
    benchmarks/examples/recording_in_pandas.py run.arrows

Needs pandas and pyarrow. What the columns are: docs/recording.md.
"""

import sys

import pyarrow as pa

# %% A line for each process and container in each frame, and three for the node.
with open(sys.argv[1], "rb") as file:
    table = pa.ipc.open_stream(file).read_pandas()

# %% Who used most?
processes = table[table.level == "process"].astype({"pid": int})
used = processes.groupby(["name", "pid"], observed=True)[["joules", "cpu_seconds"]].sum()
print(used.nlargest(10, "joules").round(3).to_string(), "\n")

# %% What power did the node draw, second by second?
seconds = table[table.level == "node"].set_index("end")[["joules", "seconds"]].resample("1s").sum()
print((seconds.joules / seconds.seconds).rename("node's watts").round(3).to_string(), "\n")

# %% Do the books close? In every frame the node's energy is somebody's, idle or nobody's.
frames = table.pivot_table("joules", "frame", "level", "sum", observed=True).fillna(0.0)
for level in ("process", "container"):
    gap = (frames.node - frames[level] - frames.idle - frames.unattributed).abs().max()
    print(f"by {level} the books are off by {gap:.1e} J in a frame at most")
