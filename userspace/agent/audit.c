/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/enforce.h"
#include "base/log.h"

struct audit {
	struct moat_event kept[AUDIT_KEPT]; /* that of sequence s at s % AUDIT_KEPT */
	uint64_t sequence;                  /* of the newest; 0: none yet */
	struct list followers;
	char *log_file;    /* NULL: none */
	int log;
	uint64_t log_size;
	bool log_failed; /* reported once, not for every event */
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

/* Wall-clock time of an event, which carries CLOCK_BOOTTIME. */
static uint64_t event_unix_ms(const struct moat_event *event)
{
	struct timespec real, boot;
	int64_t offset_ns;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	offset_ns = (int64_t)(real.tv_sec - boot.tv_sec) * (int64_t)NSEC_PER_SEC +
		    (real.tv_nsec - boot.tv_nsec);
	return (uint64_t)((int64_t)event->time_ns + offset_ns) / NSEC_PER_MSEC;
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

static int log_event(struct audit *audit, const struct moat_event *event)
{
	static const char *const kinds[] = {
		[MOAT_OBJECT_NONE] = "none",     [MOAT_OBJECT_TASK] = "task",
		[MOAT_OBJECT_PORT] = "port",     [MOAT_OBJECT_PROC] = "proc",
		[MOAT_OBJECT_SOCKET] = "socket", [MOAT_OBJECT_BPF] = "bpf",
	};
	enum moat_hook hook = (enum moat_hook)event->hook;
	char comm[sizeof(event->comm) + 1], line[512];
	int r, n;

	if (audit->log < 0)
		return -EBADF; /* a rotation went wrong */
	plain_comm(event, comm);
	n = snprintf(line, sizeof(line),
		     "{\"sequence\":%llu,\"time\":%llu,\"hook\":\"%s\",\"surface\":\"%s\","
		     "\"pid\":%u,\"comm\":\"%s\",\"context\":%llu,\"exec\":%llu,"
		     "\"object\":\"%s\",\"value\":%llu,\"errno\":%d,\"enforced\":%s,"
		     "\"folded\":%u}\n",
		     (unsigned long long)audit->sequence,
		     (unsigned long long)event_unix_ms(event), enforce_hook_name(hook),
		     enforce_hook_surface(hook), event->pid, comm,
		     (unsigned long long)event->context, (unsigned long long)event->exec,
		     event->object_kind < ARRAY_LEN(kinds) ? kinds[event->object_kind] : "unknown",
		     (unsigned long long)event->object, event->err,
		     event->enforced ? "true" : "false", event->folded);
	if (n < 0 || (size_t)n >= sizeof(line))
		return -EMSGSIZE;
	r = write_all(audit->log, line, (size_t)n);
	audit->log_size += (uint64_t)n;
	if (r == 0 && audit->log_size >= AUDIT_LOG_MAX)
		r = rotate_log(audit);
	return r;
}

/* From one list to the other and back, so that any of them may leave while one is told. */
static void tell_followers(struct audit *audit, const struct moat_event *event)
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
		f->on_event(f, audit->sequence, event);
	}
}

void audit_record(const struct moat_event *event, void *data)
{
	struct audit *audit = data;
	int r;

	audit->kept[++audit->sequence % AUDIT_KEPT] = *event;
	if (audit->log_file) {
		r = log_event(audit, event);
		if (r < 0 && !audit->log_failed)
			log_error("cannot write audit_log %s: %s", audit->log_file, strerror(-r));
		audit->log_failed = r < 0;
	}
	tell_followers(audit, event);
}

void audit_replay(struct audit *audit, uint64_t since,
		  void (*fn)(uint64_t sequence, const struct moat_event *event, void *data),
		  void *data)
{
	uint64_t first = audit->sequence < AUDIT_KEPT ? 1 : audit->sequence - AUDIT_KEPT + 1;

	if (since >= audit->sequence)
		return;
	if (since + 1 > first)
		first = since + 1;
	for (uint64_t s = first; s <= audit->sequence; s++)
		fn(s, &audit->kept[s % AUDIT_KEPT], data);
}

void audit_follow(struct audit *audit, struct audit_follower *f)
{
	list_append(&audit->followers, &f->link);
}

void audit_unfollow(struct audit_follower *f)
{
	list_remove(&f->link);
}
