/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/enforce.h"
#include "base/log.h"

struct audit {
	struct audit_entry kept[AUDIT_KEPT]; /* that of sequence s at s % AUDIT_KEPT */
	uint64_t sequence;                   /* of the newest; 0: none yet */
	struct list followers;
	char *log_file;    /* NULL: none */
	int log;
	uint64_t log_size, log_drops;
	bool log_failed; /* reported once, not for every entry */
};

static int open_log(struct audit *audit)
{
	FD_OWNED int fd = open(audit->log_file,
			       O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY |
				       O_NONBLOCK,
			       0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTSUP;
	audit->log = take_fd(&fd);
	audit->log_size = (uint64_t)st.st_size;
	return 0;
}

int audit_open(const char *log_file, struct audit **ret, struct failure *f)
{
	struct audit *audit = calloc(1, sizeof(*audit));
	int r = 0;

	if (!audit)
		return fail(f, ENOMEM, "cannot set up auditing");
	list_init(&audit->followers);
	audit->log = -EBADF;
	if (log_file) {
		audit->log_file = strdup(log_file);
		r = audit->log_file ? open_log(audit) : -ENOMEM;
	}
	if (r < 0) {
		audit_close(audit);
		return fail(f, -r, "cannot open audit_log %s", log_file);
	}
	*ret = audit;
	return 0;
}

void audit_close(struct audit *audit)
{
	if (!audit)
		return;
	while (!list_empty(&audit->followers))
		list_remove(audit->followers.next);
	close_fd(&audit->log);
	free(audit->log_file);
	free(audit);
}

/* A task names itself: what is not plain ASCII, or would need escaping in JSON, becomes '?'. */
static void plain_comm(const struct moat_event *event, char out[sizeof(event->comm) + 1])
{
	size_t i;

	for (i = 0; i < sizeof(event->comm) && event->comm[i]; i++) {
		char c = event->comm[i];

		out[i] = c < ' ' || c > '~' || c == '"' || c == '\\' ? '?' : c;
	}
	out[i] = '\0';
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int rotate_log(struct audit *audit)
{
	PTR_OWNED char *old = NULL;

	if (asprintf(&old, "%s.1", audit->log_file) < 0) {
		old = NULL;
		return -ENOMEM;
	}
	if (rename(audit->log_file, old) < 0)
		return -errno;
	close_fd(&audit->log);
	return open_log(audit);
}

static int format_denial(const struct moat_event *event, char *out, size_t size)
{
	enum moat_hook hook = (enum moat_hook)event->hook;
	char comm[sizeof(event->comm) + 1];

	plain_comm(event, comm);
	return snprintf(out, size,
			"\"hook\":\"%s\",\"surface\":\"%s\",\"pid\":%u,\"comm\":\"%s\","
			"\"context\":%llu,\"exec\":%llu,\"object\":\"%s\",\"value\":%llu,"
			"\"errno\":%d,\"enforced\":%s,\"folded\":%u",
			enforce_hook_name(hook), enforce_hook_surface(hook), event->pid, comm,
			(unsigned long long)event->context, (unsigned long long)event->exec,
			audit_object_name(event->object_kind), (unsigned long long)event->object,
			event->err, event->enforced ? "true" : "false", event->folded);
}

static int format_mode(const struct audit_mode *mode, char *out, size_t size)
{
	return snprintf(out, size, "\"from\":\"%s\",\"to\":\"%s\",\"pid\":%d,\"uid\":%u",
			enforce_mode_name(mode->from), enforce_mode_name(mode->to), (int)mode->pid,
			(unsigned)mode->uid);
}

static int log_entry(struct audit *audit, const struct audit_entry *entry)
{
	char members[384] = "", line[512];
	int r, n;

	if (audit->log < 0)
		return -EBADF; /* a rotation went wrong */
	if (entry->type == AUDIT_DENIAL)
		n = format_denial(&entry->denial, members, sizeof(members));
	else
		n = format_mode(&entry->mode, members, sizeof(members));
	if (n < 0 || (size_t)n >= sizeof(members))
		return -EMSGSIZE;
	n = snprintf(line, sizeof(line), "{\"sequence\":%llu,\"time\":%llu,\"type\":\"%s\",%s}\n",
		     (unsigned long long)entry->sequence, (unsigned long long)entry->unix_ms,
		     audit_type_name(entry->type), members);
	r = write_all(audit->log, line, (size_t)n);
	audit->log_size += (uint64_t)n;
	return r;
}

/* From one list to the other and back, so that any of them may leave while one is told. */
static void tell_followers(struct audit *audit, const struct audit_entry *entry)
{
	struct list untold = LIST_INIT(untold);

	list_for_each_safe(pos, &audit->followers) {
		list_remove(pos);
		list_append(&untold, pos);
	}
	while (!list_empty(&untold)) {
		struct list *pos = untold.next;
		struct audit_follower *f = list_entry(pos, struct audit_follower, link);

		list_remove(pos);
		list_append(&audit->followers, pos);
		f->on_entry(f, entry);
	}
}

/* Takes the entry, numbers it, and hands it on. */
static void record(struct audit *audit, struct audit_entry *entry)
{
	int r;

	entry->sequence = ++audit->sequence;
	audit->kept[entry->sequence % AUDIT_KEPT] = *entry;
	if (audit->log_file) {
		r = log_entry(audit, entry);
		audit->log_drops += r < 0;
		if (r == 0 && audit->log_size >= AUDIT_LOG_MAX)
			r = rotate_log(audit);
		if (r < 0 && !audit->log_failed)
			log_error("cannot write audit_log %s: %s", audit->log_file, strerror(-r));
		audit->log_failed = r < 0;
	}
	tell_followers(audit, entry);
}

void audit_record(const struct moat_event *event, void *data)
{
	/* The kernel's clock counts from boot; suspended time included. */
	uint64_t boot_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
	struct audit_entry entry = {
		.type = AUDIT_DENIAL,
		.unix_ms = (boot_ns + event->time_ns) / NSEC_PER_MSEC,
		.denial = *event,
	};

	record(data, &entry);
}

void audit_record_mode(struct audit *audit, const struct audit_mode *mode)
{
	struct audit_entry entry = {
		.type = AUDIT_MODE,
		.unix_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC,
		.mode = *mode,
	};

	record(audit, &entry);
}

void audit_replay(struct audit *audit, uint64_t since,
		  void (*fn)(const struct audit_entry *entry, void *data), void *data)
{
	uint64_t first = audit->sequence < AUDIT_KEPT ? 1 : audit->sequence - AUDIT_KEPT + 1;

	if (since >= audit->sequence)
		return;
	if (since + 1 > first)
		first = since + 1;
	for (uint64_t s = first; s <= audit->sequence; s++)
		fn(&audit->kept[s % AUDIT_KEPT], data);
}

void audit_follow(struct audit *audit, struct audit_follower *f)
{
	list_append(&audit->followers, &f->link);
}

void audit_unfollow(struct audit_follower *f)
{
	list_remove(&f->link);
}

uint64_t audit_log_drops(const struct audit *audit)
{
	return audit->log_drops;
}

const char *audit_type_name(enum audit_type type)
{
	static const char *const names[] = { [AUDIT_DENIAL] = "denial", [AUDIT_MODE] = "mode" };

	return type < ARRAY_LEN(names) ? names[type] : "unknown";
}

const char *audit_object_name(uint32_t object_kind)
{
	static const char *const names[] = {
		[MOAT_OBJECT_NONE] = "none",     [MOAT_OBJECT_TASK] = "task",
		[MOAT_OBJECT_PORT] = "port",     [MOAT_OBJECT_PROC] = "proc",
		[MOAT_OBJECT_SOCKET] = "socket", [MOAT_OBJECT_BPF] = "bpf",
		[MOAT_OBJECT_CAPABILITY] = "capability", [MOAT_OBJECT_FILE] = "file",
		[MOAT_OBJECT_MOUNT] = "mount",   [MOAT_OBJECT_KERNEL] = "kernel",
		[MOAT_OBJECT_DEVICE] = "device",
	};

	return object_kind < ARRAY_LEN(names) ? names[object_kind] : "unknown";
}
