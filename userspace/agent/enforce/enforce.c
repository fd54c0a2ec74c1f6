/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of bpf/: see enforce.h. Loading step by step, most of which are in the other
 * files, and closing. */
#include "agent/enforce/internal.h"
#include "agent/enforce/probes.h"

#include <stdarg.h>
#include <sys/socket.h>

#include "base/log.h"

/* The last lines libbpf wrote: the reason of a failed load, for the person who reads the error. */
static char libbpf_said[256];

PRINTF(2, 0)
static int keep_libbpf_message(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[1024];

	if (level > LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	if (!libbpf_said[0])
		snprintf(libbpf_said, sizeof(libbpf_said), "%.*s", (int)sizeof(libbpf_said) - 1,
			 line);
	log_debug("%s", line);
	return 0;
}

static int own_netns_cookie(__u64 *ret_cookie)
{
	FD_OWNED int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret_cookie);

	if (fd < 0)
		return -errno;
	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &len) < 0 ? -errno : 0;
}

const char *enforce_libbpf_said(void)
{
	return libbpf_said;
}

int enforce_fill_settings(struct enforce *e, const struct config *config, struct failure *f)
{
	struct moat_settings settings = {
		.mode = config->enforce == ENFORCE_AUDIT ? MOAT_MODE_AUDIT : MOAT_MODE_ENFORCE,
	};
	uint32_t zero = 0;
	int r;

	r = own_netns_cookie(&settings.netns);
	if (r < 0)
		return fail(f, -r, "cannot tell the network namespace");
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.settings), &zero, &settings, BPF_ANY);
	if (r < 0)
		return fail(f, -r, "cannot write the settings map");
	e->settings = settings;
	return 0;
}

/* See MOAT_OWNER_LOST. An agent of a version without it is believed to have lost some. */
static int note_no_loss(struct enforce *e, const struct config *config, struct failure *f)
{
	struct moat_subject noted = { .pid = e->adopted };
	uint64_t key = MOAT_OWNER_LOST;
	int r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.file_owners), &key, &noted, BPF_NOEXIST);

	(void)config;
	return r < 0 && r != -EEXIST ? fail(f, -r, "cannot write the file_owners map") : 0;
}

int enforce_open_object(struct enforce *e, const struct config *config, struct failure *f)
{
	(void)config;
	libbpf_said[0] = '\0';
	libbpf_set_print(keep_libbpf_message);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	e->bpf = moat_bpf__open();
	return e->bpf ? 0 : fail(f, errno, "cannot open the BPF object: %s", libbpf_said);
}

int enforce_load(struct enforce *e, const struct config *config, struct failure *f)
{
	int r;

	(void)config;
	if (e->adopted) { /* and with them files and sockets of user code, also if .bss is not the same */
		e->bpf->bss->owners_known = e->bpf->bss->own_superblocks = true;
		e->bpf->bss->ports_pending = e->bpf->bss->sockets_known = true;
		e->bpf->bss->datagrams_shared = true;
	}
	r = moat_bpf__load(e->bpf);
	if (r < 0)
		return fail(f, -r, "the kernel refused the BPF programs (%s)", libbpf_said);
	return 0;
}

static int attach(struct enforce *e, const struct config *config, struct failure *f)
{
	int r = moat_bpf__attach(e->bpf);

	(void)config;
	if (r == -E2BIG)
		return fail(f, EINVAL, "the kernel has no place left for another agent's programs: at a hook it has 38, "
			    "and each enforcing agent of this kernel takes one (moatd --check counts them)");
	return r < 0 ? fail(f, -r, "cannot attach the BPF LSM programs (%s)", libbpf_said) : 0;
}

/* In this order: maps are filled before programs look into them, and the pins of an agent before this
 * one are replaced when it is proven that our programs decide. */
static int start(struct enforce *e, const struct config *config, struct failure *f)
{
	static int (*const steps[])(struct enforce *, const struct config *, struct failure *) = {
		enforce_open_object,
		enforce_suit_kernel,
		enforce_adopt,
		enforce_load,
		enforce_fill_settings,
		enforce_guard_ports,
		enforce_open_sockets,
		enforce_allow_devices,
		note_no_loss,
		enforce_label_self,
		attach,
		enforce_self_test,
		enforce_pin,
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps) && r >= 0; i++)
		r = steps[i](e, config, f);
	return r;
}

void enforce_unload(struct enforce *e)
{
	if (e->ring)
		ring_buffer__free(e->ring);
	e->ring = NULL;
	e->active = e->guards = false;
	moat_bpf__destroy(e->bpf); /* closes links: programs without a pin are detached, 0.1 s each */
	e->bpf = NULL;
}

int enforce_open(const struct config *config, const char *obstacle, struct enforce **ret,
		 struct failure *f)
{
	struct enforce *e = calloc(1, sizeof(*e));
	struct failure why = { 0 };
	bool held;
	int r;

	if (!e)
		return fail(f, ENOMEM, "enforce");
	list_init(&e->kept_mounts);
	e->source.fd = e->watches = e->lock = e->instance_cgroup = e->user_cgroup = -EBADF;
	r = obstacle ? fail(&why, EINVAL, "%s", obstacle) : enforce_lock(e, config, &why);
	held = r == -EBUSY;
	if (r == 0)
		r = start(e, config, &why);
	kernel_types_keep(NULL);
	if (r < 0) {
		enforce_unload(e);
		enforce_unpin(e);
	}
	if (r < 0 && (held || config->enforce != ENFORCE_BEST_EFFORT)) {
		enforce_close(e, false);
		return fail(f, why.err, "%s", why.msg);
	}
	e->active = r >= 0;
	snprintf(e->reason, sizeof(e->reason), "%s", r < 0 ? why.msg : "");
	*ret = e;
	return 0;
}

void enforce_close(struct enforce *e, bool keep_pins)
{
	if (!e)
		return;
	if (e->loop)
		enforce_stop_records(e);
	/* In this order the last reference of a link is its pin, and what frees it is, from 6.5 on, the kernel's own worker
	 * (bpf_link_put() in kernel/bpf/syscall.c). In the other it would be a close, which waits a grace period for each. */
	enforce_unload(e);
	if (!keep_pins)
		enforce_unpin(e);
	enforce_free_mounts(e);
	close_fd(&e->watches);
	close_fd(&e->lock);
	free(e->lock_dir);
	free(e->pin_dir);
	free(e->mounted);
	free(e);
}

bool enforce_active(const struct enforce *e)
{
	return e->active;
}

const char *enforce_reason(const struct enforce *e)
{
	return e->reason;
}

enum moat_mode enforce_mode(const struct enforce *e)
{
	return e->active ? (enum moat_mode)e->settings.mode : MOAT_MODE_OFF;
}

int enforce_set_mode(struct enforce *e, enum moat_mode mode)
{
	struct moat_settings settings = e->settings;
	uint32_t zero = 0;
	int r;

	if (mode != MOAT_MODE_ENFORCE && mode != MOAT_MODE_AUDIT)
		return -EINVAL;
	if (!e->active)
		return -ENODEV;
	settings.mode = mode;
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.settings), &zero, &settings, BPF_ANY);
	if (r == 0)
		e->settings = settings;
	return r;
}

int enforce_watch(struct enforce *e, struct loop *loop, enforce_event_fn on_event, void *data)
{
	if (!e->bpf)
		return 0;
	e->on_denial = on_event;
	e->on_denial_data = data;
	e->loop = loop;
	return enforce_read_records(e);
}

const char *enforce_mode_name(enum moat_mode mode)
{
	static const char *const names[] = {
		[MOAT_MODE_OFF] = "off", [MOAT_MODE_AUDIT] = "audit", [MOAT_MODE_ENFORCE] = "enforce",
	};

	return mode < ARRAY_LEN(names) ? names[mode] : "unknown";
}
