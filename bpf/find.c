/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whose row is whose. A pid is not an identity, as the number may have a new owner within microseconds: tgid and the
 * start of the first thread are. The hash is the authority that makes a row once, also where two threads come at once.
 *
 * To ask for the start is a cache miss in every switch. While a process lives nobody else has its number, so the first
 * thread's address does as well, and the hint is taken away when it dies: see end_slice(). */

#define COUNT(what) count(__builtin_offsetof(struct totals, what))

static __always_inline void count(u32 offset)
{
	u32 zero = 0;
	void *all = totals.lookup(&zero);

	if (all)
		__sync_fetch_and_add((u64 *)(all + offset), 1);
}

static __always_inline u32 *hint(u32 tgid)
{
	u32 line = (tgid & (HINTS - 1)) / 16;
	struct hints *found = hints.lookup(&line);

	return found ? &found->row[tgid & 15] : NULL;
}

/* The next switch to this process asks the hash whose it is. */
static __always_inline void forget(u32 tgid)
{
	u32 *first = hint(tgid);

	if (first)
		*first = OVERFLOW_ROW;
}

static __always_inline void mark_dead(struct process *process)
{
	process->dead = 1;
	COUNT(dead_rows);
}

/* A row for a process that has none; OVERFLOW_ROW where no row is free. */
static __always_inline u32 make_row(u64 task, struct identity *who)
{
	struct identity adopted = {.tgid = who->tgid};
	u32 *known = row_of.lookup(&adopted), row;
	struct process *process;

	if (known) {
		row = *known;
		process = processes.lookup(&row);
		if (process) {
			process->start_ns = who->start_ns;
			process->adopted = 0;
		}
		row_of.update(who, &row);
		row_of.delete(&adopted);
		return row;
	}
	if (free_rows.pop(&row) != 0)
		return OVERFLOW_ROW;
	process = processes.lookup(&row);
	if (!process)
		return OVERFLOW_ROW;
	process->start_ns = who->start_ns;
	process->parent = half_at(word_at(task + TASK_REAL_PARENT) + TASK_TGID);
	process->kernel = half_at(task + TASK_FLAGS) & PF_KTHREAD ? 1 : 0;
	if (row_of.insert(who, &row) != 0) {
		/* A second thread, on another CPU, was faster (or the hash is full): give the row back. */
		free_rows.push(&row, 0);
		known = row_of.lookup(who);
		return known ? *known : OVERFLOW_ROW;
	}
	process->tgid = who->tgid;
	if (is_last(task))
		mark_dead(process); /* a thread that was slow to end: the row it had is recycled already */
	return row;
}

/* The position of this task's process on this package; the idle task has none of its own. */
static __always_inline u32 find_use(u64 task, u32 package)
{
	struct identity who = {.tgid = half_at(task + TASK_TGID)};
	u32 *first = hint(who.tgid), *known, row, position;
	struct process *process;
	struct use *use;
	u64 leader;

	if (!first || !who.tgid)
		return package;
	position = *first * PACKAGES + package;
	use = process_uses.lookup(&position);
	if (use && use->tgid == who.tgid && use->leader == task)
		return position;
	leader = word_at(task + TASK_GROUP_LEADER);
	if (use && use->tgid == who.tgid && use->leader == leader)
		return position;

	who.start_ns = word_at(leader + TASK_START);
	known = row_of.lookup(&who);
	row = known ? *known : make_row(task, &who);
	position = row * PACKAGES + package;
	process = processes.lookup(&row);
	use = process_uses.lookup(&position);
	if (row == OVERFLOW_ROW || !process || !use)
		return package;
	copy_comm(process, task);
	use->leader = leader;
	use->tgid = who.tgid;
	*first = row;
	return position;
}

static __always_inline u32 find_cgroup(u64 task, u64 id)
{
	u32 *known, row;
	struct cgroup *cgroup;

	if (half_at(task + TASK_FLAGS) & PF_KTHREAD)
		return KERNEL_CGROUP_ROW;
	known = cgroup_of.lookup(&id);
	if (known)
		return *known;
	if (free_cgroups.pop(&row) != 0)
		return OVERFLOW_ROW;
	cgroup = cgroups.lookup(&row);
	if (!cgroup)
		return OVERFLOW_ROW;
	cgroup->id = id;
	if (cgroup_of.insert(&id, &row) != 0) {
		cgroup->id = 0;
		free_cgroups.push(&row, 0);
		known = cgroup_of.lookup(&id);
		return known ? *known : OVERFLOW_ROW;
	}
	cgroup->taken = 1;
	return row;
}

/* The row of the cgroup that this task is in now, remembered with the process's use at `position`. */
static __always_inline u32 cgroup_row(u64 task, struct use *use, u32 position)
{
	u64 id = cgroup_id(task);
	u32 row, of_process = position / PACKAGES;
	struct process *process;

	/* The overflow row is shared by everyone, so it remembers no cgroup. */
	if (of_process != OVERFLOW_ROW && use->cgroup_id == id)
		return use->cgroup_row;
	row = find_cgroup(task, id);
	if (of_process == OVERFLOW_ROW || row == OVERFLOW_ROW)
		return row;
	use->cgroup_row = row;
	use->cgroup_id = id;
	process = processes.lookup(&of_process);
	if (process) {
		process->cgroup_row = row;
		process->cgroup_id = id;
	}
	return row;
}
