/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Cgroups that come and go. A container may live and die between two looks of user space; its cgroup's path, which
 * holds the container's id, is here all the same. `root` 0 is the v2 hierarchy, whose ids our rows carry.
 */
TRACEPOINT_PROBE(cgroup, cgroup_mkdir)
{
	struct cgroup_event event = {.id = args->id, .removed = 0};

	if (args->root != 0)
		return 0;
	TP_DATA_LOC_READ_CONST(event.path, path, sizeof(event.path));
	cgroup_events.push(&event, BPF_EXIST);
	return 0;
}

TRACEPOINT_PROBE(cgroup, cgroup_rmdir)
{
	struct cgroup_event event = {.id = args->id, .removed = 1};

	if (args->root == 0)
		cgroup_events.push(&event, BPF_EXIST);
	return 0;
}
