/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Audit records of what was refused (verdict.h). No hooks. A function of its own for the verifier, as those of climb.bpf.c.
 */
#include "record.h"
#include "verdict.h"

/* The running task as the subject of a record. */
static __always_inline void describe_current(struct moat_event *e)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	e->context = l ? l->context : 0;
	e->exec = l ? l->exec : 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

static __always_inline void describe(struct moat_event *e, const struct moat_subject *subject)
{
	e->context = subject->label.context;
	e->exec = subject->label.exec;
	e->pid = subject->pid;
	__builtin_memcpy(e->comm, subject->comm, sizeof(e->comm));
}

int record(struct moat_event *e, const struct moat_subject *subject, bool look)
{
	if (!e)
		return 0;
	e->time_ns = bpf_ktime_get_boot_ns();
	if (subject)
		describe(e, subject);
	else
		describe_current(e);
	write_record(e, look);
	return 0;
}
