"""Where the running kernel keeps what ``bpf/tasks.c`` reads, as C definitions."""

from __future__ import annotations

from .btf import Types

_MEMBERS = {
    "TASK_SE": ("task_struct", "se"),
    "SE_SUM_EXEC_RUNTIME": ("sched_entity", "sum_exec_runtime"),
    "SE_PREV_SUM_EXEC_RUNTIME": ("sched_entity", "prev_sum_exec_runtime"),
    "TASK_PID": ("task_struct", "pid"),
    "TASK_TGID": ("task_struct", "tgid"),
    "TASK_FLAGS": ("task_struct", "flags"),
    "TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "TASK_START": ("task_struct", "start_boottime"),
    "TASK_COMM": ("task_struct", "comm"),
    "TASK_SIGNAL": ("task_struct", "signal"),
    "SIGNAL_LIVE": ("signal_struct", "live"),
    "TASK_CGROUPS": ("task_struct", "cgroups"),
    "CSS_SET_DFL_CGRP": ("css_set", "dfl_cgrp"),
    "CGROUP_KN": ("cgroup", "kn"),
    "CGROUP_ROOT": ("cgroup", "root"),
    "CGROUP_ROOT_HIERARCHY_ID": ("cgroup_root", "hierarchy_id"),
    "KERNFS_NODE_ID": ("kernfs_node", "id"),
}


def offsets(types: Types, hierarchy: int, controller: str) -> dict[str, int]:
    """The definitions, for rows that carry the cgroup ids of this hierarchy. Raises KeyError for what the kernel lacks.

    ``hierarchy``: its number, 0 for v2. ``controller``: one that is in this hierarchy of v1; empty for v2.
    """
    defines = {name: types.offset(*member) for name, member in _MEMBERS.items()}
    defines["HIERARCHY"] = hierarchy
    try:
        defines["TASK_STATE"] = types.offset("task_struct", "__state")
    except KeyError:
        defines["TASK_STATE"] = types.offset("task_struct", "state")
        defines["TASK_STATE_IS_LONG"] = 1
    if controller:
        defines |= {
            "SUBSYSTEM": types.enumerator("cgroup_subsys_id", f"{controller}_cgrp_id"),
            "CSS_SET_SUBSYS": types.offset("css_set", "subsys"),
            "CSS_CGROUP": types.offset("cgroup_subsys_state", "cgroup"),
        }
    return defines
