/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this kernel and these privileges offer, found out by trying, before anything is started:
 * `moat check` prints it, /v1/status repeats it, enforcement decides on it.
 */
#ifndef MOAT_PROBE_H
#define MOAT_PROBE_H

#include "base/base.h"

#define PROBE_MAX 32u

struct probe_result {
	const char *name;    /* static: "bpf-lsm", "btf", "pid-namespace", … */
	const char *layer;   /* static: "lsm", "namespaces", "caps", "cgroup" */
	bool ok;
	bool required;       /* for enforce = require */
	bool always;         /* for every start */
	char detail[256];    /* what was found, or what is missing and what to do */
};

struct probe_report {
	struct probe_result results[PROBE_MAX];
	size_t n;
	char kernel[65]; /* uname release, for people only */
};

enum probe_purpose {
	PROBE_ALL,        /* to be told */
	PROBE_TO_ENFORCE, /* to start only if enforcement is possible */
	PROBE_TO_CHOOSE, /* to start with enforcement if it is possible: what is of no use any more is left out */
};

/* Never fails: a probe that cannot run is a result that is not ok. Leaves nothing behind. */
void probe_run(struct probe_report *ret_report, enum probe_purpose purpose);
/* The first that keeps the kernel from enforcing (of the layer "lsm"), or moat from running at all; NULL:
 * none. */
const struct probe_result *probe_obstacle(const struct probe_report *report, bool enforce);
/* True when every required result is ok. */
bool probe_enforceable(const struct probe_report *report);
/* Of one of them. */
bool probe_ok(const struct probe_report *report, const char *name);
/* What one promise of moat's rests on here; all static. */
struct probe_promise {
	const char *id, *name, *text, *guard, *by;
};
/* `moatd --check [--json]`: prints aligned tables or one JSON object; exit status 0 or 1. promises: n of them. */
int probe_print(const struct probe_report *report, const struct probe_promise *promises, size_t n,
		bool json);

#endif
