/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Cgroups: which one a task is in, and those that come and go. A container may live and die between two looks of user
 * space; its cgroup's path, which holds the container's id, is here all the same.
 *
 * These are the only places where structures of the kernel are read. The loader defines the offsets (CGROUP_KN, …) from
 * the kernel's own type information (BTF), so no headers are needed; a kernel without it has no such events. HIERARCHY
 * is the number of the hierarchy whose ids our rows carry: 0 is v2.
 *
 * Raw tracepoints here too: the ordinary ones cannot be had without perf_event_open(2), which Debian's kernels keep for
 * CAP_SYS_ADMIN (kernel.perf_event_paranoid=3).
 */
#ifdef HIERARCHY
static __always_inline u64 word_at(u64 address)
{
	u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)address);
	return word;
}

static __always_inline u64 id_of(u64 cgroup)
{
	return word_at(word_at(cgroup + CGROUP_KN) + KERNFS_NODE_ID);
}

static __always_inline int is_elsewhere(u64 cgroup)
{
	u32 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), (void *)(word_at(cgroup + CGROUP_ROOT) + CGROUP_ROOT_HIERARCHY_ID));
	return number != HIERARCHY;
}

static __always_inline int tell(u64 cgroup, u32 removed, u64 path)
{
	u32 zero = 0;
	struct cgroup_event *event = cgroup_event_scratch.lookup(&zero);

	if (!event || is_elsewhere(cgroup))
		return 0;
	event->id = id_of(cgroup);
	event->removed = removed;
	event->path[0] = 0;
	if (!removed)
		bpf_probe_read_kernel_str(event->path, sizeof(event->path), (void *)path);
	cgroup_events.push(event, BPF_EXIST);
	return 0;
}

/* cgroup:cgroup_mkdir(struct cgroup *cgrp, const char *path) */
int on_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	return tell(ctx->args[0], 0, ctx->args[1]);
}

/* cgroup:cgroup_rmdir(struct cgroup *cgrp, const char *path) */
int on_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	return tell(ctx->args[0], 1, 0);
}
#endif

/* The id of the current task's cgroup: on machines with v1 alone, of its cgroup in one of those hierarchies. */
static __always_inline u64 current_cgroup_id(void)
{
#ifdef SUBSYSTEM
	u64 css_set = word_at(bpf_get_current_task() + TASK_CGROUPS);
	u64 css = word_at(css_set + CSS_SET_SUBSYS + sizeof(u64) * SUBSYSTEM);

	return id_of(word_at(css + CSS_CGROUP));
#else
	return bpf_get_current_cgroup_id();
#endif
}
