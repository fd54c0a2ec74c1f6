/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel offers: see probe.h. One table of probes; each tries the thing itself. */
#include "agent/enforce/probe.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include <jansson.h>

#include "agent/cgroup/file.h"
#include "agent/cgroup/find.h"
#include "agent/enforce/probes.h"
#include "agent/process/landlock.h"

#define PROBE_CGROUP "moat-probe"

/* Each returns whether it is there and fills detail. */
typedef bool (*probe_fn)(struct probe_result *p);

static bool probe_btf(struct probe_result *p)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) == 0) {
		FOUND(p, "/sys/kernel/btf/vmlinux");
		return true;
	}
	FOUND(p, "no /sys/kernel/btf/vmlinux: needs CONFIG_DEBUG_INFO_BTF and a mounted sysfs");
	return false;
}

int detached_mount(const char *type, const char *key, const char *value)
{
	FD_OWNED int context = fsopen(type, FSOPEN_CLOEXEC);

	if (context < 0)
		return -1;
	if (key && fsconfig(context, FSCONFIG_SET_STRING, key, value, 0) < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(context, FSMOUNT_CLOEXEC, 0);
}

static bool probe_bpffs(struct probe_result *p)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) < 0) {
		FOUND(p, "/sys/fs/bpf: %s", strerror(errno));
		return false;
	}
	if (fs.f_type == BPF_FS_MAGIC)
		FOUND(p, "mounted at /sys/fs/bpf");
	else
		FOUND(p, "not mounted at /sys/fs/bpf; moatd mounts it while it runs");
	return true;
}

/* With the sysctl anybody may answer, or never answer, page faults of the kernel's: see the table
 * refused_calls in bpf/machine.bpf.c. */
static bool probe_page_faults(struct probe_result *p)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/sys/vm/unprivileged_userfaultfd", 16, &text, NULL);

	if (r == -ENOENT || (r == 0 && text[0] == '0')) {
		FOUND(p, "the kernel's page faults are not for everybody");
		return true;
	}
	if (r < 0)
		FOUND(p, "cannot read vm.unprivileged_userfaultfd: %s", strerror(-r));
	else
		FOUND(p, "vm.unprivileged_userfaultfd is on, so that user code could hold up the agent: set it to 0");
	return false;
}

static bool probe_hidepid(struct probe_result *p)
{
	FD_OWNED int root = detached_mount("proc", "hidepid", "ptraceable");

	if (root < 0)
		FOUND(p, "procfs with hidepid=ptraceable: %s", strerror(errno));
	else
		FOUND(p, "procfs takes hidepid=ptraceable");
	return root >= 0;
}

/* As the agent does it: a directory, a read-only mount of it alone, cgroup.kill. */
static bool try_cgroup(const struct cgroup_place *place, const char *name, struct probe_result *p)
{
	FD_OWNED int dir = openat(place->shown >= 0 ? place->shown : place->dir, name,
				  O_PATH | O_DIRECTORY | O_CLOEXEC);
	FD_OWNED int clone = open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
							AT_EMPTY_PATH);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (clone < 0 || mount_setattr(clone, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		FOUND(p, "a read-only mount of a cgroup cannot be made: %s%s", strerror(errno),
		      place->shown < 0 ? " (mount cgroup2, read-only will do: before Linux 6.15 it "
					 "takes one)" : "");
	else if (faccessat(dir, "cgroup.kill", F_OK, 0) < 0)
		FOUND(p, "no cgroup.kill beneath %.200s (Linux 5.14)", place->path);
	else
		return true;
	return false;
}

/*
 * One name for all, so that what a probe that was killed has left is the next one's. Nobody removes it while
 * the lock is held. 0 or -errno.
 */
static int open_probe_cgroup(const struct cgroup_place *place, int *ret_lock)
{
	for (int i = 0; i < 100; i++) {
		FD_OWNED int lock = -EBADF;

		if (mkdirat(place->dir, PROBE_CGROUP, 0700) < 0 && errno != EEXIST)
			return -errno;
		lock = openat(place->dir, PROBE_CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (lock < 0 && errno != ENOENT)
			return -errno;
		if (lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) == 0 &&
		    faccessat(lock, "cgroup.procs", F_OK, 0) == 0) {
			*ret_lock = take_fd(&lock);
			return 0;
		}
	}
	return -EBUSY;
}

static bool probe_cgroup(struct probe_result *p)
{
	CLEANUP(cgroup_place_close) struct cgroup_place place = CGROUP_PLACE_NONE;
	struct failure f = { 0 };
	FD_OWNED int lock = -EBADF;
	bool ok;
	int r;

	r = cgroup_place_open(NULL, &place, &f);
	if (r < 0) {
		FOUND(p, "%.*s", (int)sizeof(p->detail) - 1, f.msg);
		return false;
	}
	r = open_probe_cgroup(&place, &lock);
	if (r < 0) {
		FOUND(p, "cannot make a cgroup in %.120s: %s", place.path, strerror(-r));
		return false;
	}
	ok = try_cgroup(&place, PROBE_CGROUP, p);
	/* Unless another one looks at it still: he removes it. */
	if (flock(lock, LOCK_EX | LOCK_NB) == 0)
		(void)unlinkat(place.dir, PROBE_CGROUP, AT_REMOVEDIR);
	if (ok)
		FOUND(p, "cgroup2 with cgroup.kill at %.200s", place.path);
	return ok;
}

/* Offered is not yet had: a process that sits beside the agent can be in the way, see moatd(8). */
static bool probe_limits(struct probe_result *p)
{
	CLEANUP(cgroup_place_close) struct cgroup_place place = CGROUP_PLACE_NONE;
	PTR_OWNED char *offered = NULL;
	char missing[64] = "";

	if (cgroup_place_open(NULL, &place, NULL) < 0 ||
	    read_file_at(place.dir, "cgroup.controllers", 4096, &offered, NULL) < 0) {
		FOUND(p, "the controllers of the agent's cgroup cannot be read");
		return false;
	}
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		if (!cgroup_offers(offered, i))
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing),
				 "%s%s", *missing ? ", " : "", config_limit_name(i));
	if (*missing)
		FOUND(p, "user code cannot be limited in %s: no controller in %.100s", missing,
		      place.path);
	else
		FOUND(p, "memory, pids and cpu can be limited");
	return !*missing;
}

static bool probe_landlock(struct probe_result *p)
{
	int abi = landlock_abi();
	char text[200];

	if (abi < 0)
		FOUND(p, "not available: %s",
		      abi == -EOPNOTSUPP ? "built in, but not in the list of lsm=" :
					   strerror(-abi));
	else
		landlock_describe(abi, landlock_errata(), text, sizeof(text));
	if (abi >= 0)
		FOUND(p, "ABI %d %s", abi, text);
	return abi >= LANDLOCK_USED;
}

static bool probe_mounts(struct probe_result *p)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	FD_OWNED int root = detached_mount("tmpfs", NULL, NULL);
	bool ok = root >= 0 && mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0;

	if (ok)
		FOUND(p, "what user code is not to change can be mounted read-only for it");
	else
		FOUND(p, "no read-only mounts: %s", strerror(errno));
	return ok;
}

static bool probe_seccomp(struct probe_result *p)
{
	uint32_t action = SECCOMP_RET_ERRNO;
	bool ok = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;

	if (ok)
		FOUND(p, "system calls can be filtered");
	else
		FOUND(p, "system calls cannot be filtered: %s", strerror(errno));
	return ok;
}

static bool probe_no_new_privs(struct probe_result *p)
{
	bool ok = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0;

	FOUND(p, ok ? "capabilities can be dropped for good" : "no no_new_privs");
	return ok;
}

enum need { NOT_NEEDED, TO_ENFORCE, ALWAYS };

/* When it is tried; `moat check` tries all. */
enum when {
	EACH_TIME,
	TO_TELL, /* never by a start, which attaches all programs itself and knows what to do where it cannot */
	IF_POSSIBLE, /* it reads the types of the whole kernel: not where enforcement is known to be impossible */
	OTHERWISE, /* only there */
};

static const struct {
	const char *name, *layer;
	enum need need;
	enum when when;
	probe_fn fn;
} probes[] = {
	{ "privileges", "caps", ALWAYS, EACH_TIME, probe_privileges },
	{ "no-new-privs", "caps", ALWAYS, EACH_TIME, probe_no_new_privs },
	{ "user-namespace", "lsm", TO_ENFORCE, EACH_TIME, probe_user_namespace },
	{ "btf", "lsm", TO_ENFORCE, EACH_TIME, probe_btf },
	{ "lsm-list", "lsm", TO_ENFORCE, EACH_TIME, probe_lsm_list },
	{ "bpf-lsm", "lsm", TO_ENFORCE, IF_POSSIBLE, probe_bpf_lsm },
	{ "bpf-attach", "lsm", TO_ENFORCE, TO_TELL, probe_bpf_attach },
	{ "bpf-maps", "lsm", TO_ENFORCE, IF_POSSIBLE, probe_map_types },
	{ "places", "lsm", TO_ENFORCE, EACH_TIME, probe_places },
	{ "bpffs", "lsm", TO_ENFORCE, EACH_TIME, probe_bpffs },
	{ "page-faults", "lsm", TO_ENFORCE, EACH_TIME, probe_page_faults },
	{ "system-calls", "namespaces", ALWAYS, EACH_TIME, probe_calls },
	{ "namespaces", "namespaces", ALWAYS, EACH_TIME, probe_namespaces },
	{ "proc-hidepid", "namespaces", ALWAYS, EACH_TIME, probe_hidepid },
	{ "cgroup-kill", "cgroup", TO_ENFORCE, EACH_TIME, probe_cgroup },
	{ "cgroup-limits", "cgroup", NOT_NEEDED, EACH_TIME, probe_limits },
	{ "cgroup-ports", "cgroup", NOT_NEEDED, OTHERWISE, probe_port_programs },
	{ "oom-order", "cgroup", NOT_NEEDED, EACH_TIME, probe_oom_order },
	{ "read-only", "mounts", NOT_NEEDED, EACH_TIME, probe_mounts },
	{ "seccomp", "seccomp", NOT_NEEDED, EACH_TIME, probe_seccomp },
	{ "landlock", "landlock", NOT_NEEDED, EACH_TIME, probe_landlock },
};

_Static_assert(ARRAY_LEN(probes) <= PROBE_MAX, "PROBE_MAX");

/*
 * Whether one is to be tried; if not, p says why. possible: nothing was found yet that keeps the kernel from
 * enforcing. A start that must enforce tries the rest as well, to name at once all that is missing.
 */
static bool is_tried(enum when when, enum probe_purpose purpose, bool possible,
		     struct probe_result *p)
{
	if (purpose == PROBE_ALL || when == EACH_TIME)
		return true;
	if (when == TO_TELL) {
		p->ok = true;
		FOUND(p, "not tried: a start does it itself");
		return false;
	}
	if (when == OTHERWISE && possible) {
		p->ok = true;
		FOUND(p, "not tried: LSM programs do it");
		return false;
	}
	if (when == IF_POSSIBLE && !possible && purpose == PROBE_TO_CHOOSE) {
		FOUND(p, "not tried: it would be of no use, for what was found before");
		return false;
	}
	return true;
}

void probe_run(struct probe_report *ret_report, enum probe_purpose purpose)
{
	struct utsname uts = { 0 };
	bool possible = true;

	*ret_report = (struct probe_report){ .n = ARRAY_LEN(probes) };
	if (uname(&uts) == 0)
		snprintf(ret_report->kernel, sizeof(ret_report->kernel), "%s", uts.release);
	for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
		struct probe_result *p = &ret_report->results[i];

		p->name = probes[i].name;
		p->layer = probes[i].layer;
		p->required = probes[i].need != NOT_NEEDED;
		p->always = probes[i].need == ALWAYS;
		if (is_tried(probes[i].when, purpose, possible, p))
			p->ok = probes[i].fn(p);
		possible = possible && (p->ok || strcmp(p->layer, "lsm") != 0);
	}
}

const struct probe_result *probe_obstacle(const struct probe_report *report, bool enforce)
{
	for (size_t i = 0; i < report->n; i++) {
		const struct probe_result *p = &report->results[i];

		if (!p->ok && (enforce ? strcmp(p->layer, "lsm") == 0 && p->required : p->always))
			return p;
	}
	return NULL;
}

bool probe_enforceable(const struct probe_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->results[i].required && !report->results[i].ok)
			return false;
	return true;
}

bool probe_ok(const struct probe_report *report, const char *name)
{
	for (size_t i = 0; i < report->n; i++)
		if (strcmp(report->results[i].name, name) == 0)
			return report->results[i].ok;
	return false;
}

static int print_json(const struct probe_report *report, const struct probe_promise *promises,
		      size_t n)
{
	json_t *list = json_array(), *requirements = json_array();
	json_t *root = json_pack("{s:s, s:b, s:o, s:o}", "kernel", report->kernel, "enforceable",
				 probe_enforceable(report), "probes", list, "requirements",
				 requirements);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(requirements,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", promises[i].id,
						"name", promises[i].name, "text", promises[i].text,
						"guard", promises[i].guard, "by", promises[i].by));
	for (size_t i = 0; i < report->n; i++) {
		const struct probe_result *p = &report->results[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b, s:s}", "name", p->name,
						      "layer", p->layer, "ok", p->ok, "required",
						      p->required, "detail", p->detail));
	}
	if (!root || json_dumpf(root, stdout, JSON_INDENT(2)) < 0)
		return 1;
	putchar('\n');
	json_decref(root);
	return probe_enforceable(report) ? 0 : 1;
}

int probe_print(const struct probe_report *report, const struct probe_promise *promises, size_t n,
		bool json)
{
	bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	if (json)
		return print_json(report, promises, n);
	printf("kernel %s\n\n%-11s %-14s %-8s %s\n", report->kernel, "LAYER", "WHAT", "STATE",
	       "FOUND");
	for (size_t i = 0; i < report->n; i++) {
		const struct probe_result *p = &report->results[i];
		const char *state = p->ok ? "ok" : p->required ? "missing" : "absent";

		printf("%-11s %-14s %s%-8s%s %s\n", p->layer, p->name,
		       !color ? "" : p->ok ? "\033[32m" : p->required ? "\033[31m" : "\033[33m",
		       state, color ? "\033[0m" : "", p->detail);
	}
	printf("\n%-3s %-12s %-34s %-16s %s\n", "ID", "PROMISE", "STATE", "BY", "WHAT IT IS");
	for (size_t i = 0; i < n; i++)
		printf("%-3s %-12s %-34s %-16s %s\n", promises[i].id, promises[i].name,
		       promises[i].guard, promises[i].by, promises[i].text);
	if (probe_enforceable(report)) {
		puts("\nmoat can enforce on this machine.");
		return 0;
	}
	if (!probe_obstacle(report, false))
		puts("\nmoat cannot enforce on this machine: see what is missing above. With\n"
		     "enforce = best-effort (moatd --enforce best-effort) it runs, and what is then\n"
		     "guarded is listed above.");
	else if (geteuid() == 0)
		puts("\nmoat cannot run here: see what is missing above.");
	else
		puts("\nmoat cannot run here: see what is missing above; it wants root. For development\n"
		     "moatd --dev runs without.");
	return 1;
}
