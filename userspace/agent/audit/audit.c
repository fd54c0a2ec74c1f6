/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit/audit.h"

#include <time.h>

#include "agent/audit/log.h"
#include "agent/enforce/enforce.h"
#include "base/log.h"

struct audit {
	struct audit_entry kept[AUDIT_KEPT]; /* that of sequence s at s % AUDIT_KEPT */
	uint64_t sequence;                   /* of the newest; 0: none yet */
	struct list followers;
	char *instance;
	audit_name_fn name; /* NULL: contexts have none */
	audit_name_fn exec_name; /* NULL: numbers are written */
	void *name_data;
	struct audit_log *log; /* NULL: none */
	uint64_t log_drops;
	bool log_failed; /* reported once, not for every entry */
};

static int audit_open_failed(const char *log_file, int r, struct failure *f)
{
	if (!log_file || r == -ENOMEM)
		return fail(f, -r, "cannot set up auditing");
	if (r == -EPERM)
		return fail(f, EINVAL, "audit_log %s belongs to another user", log_file);
	if (r == -EMLINK)
		return fail(f, EINVAL, "audit_log %s has a second name", log_file);
	return fail(f, -r, "cannot open audit_log %s", log_file);
}

int audit_open(const char *log_file, const char *instance, struct loop *loop, audit_name_fn name,
	       void *data, struct audit **ret, struct failure *f)
{
	struct audit *audit = calloc(1, sizeof(*audit));
	int r = 0;

	if (!audit)
		return fail(f, ENOMEM, "cannot set up auditing");
	list_init(&audit->followers);
	audit->name = name;
	audit->name_data = data;
	audit->instance = strdup(instance);
	if (!audit->instance)
		r = -ENOMEM;
	if (r == 0 && log_file)
		r = audit_log_open(log_file, loop, &audit->log);
	if (r < 0) {
		audit_close(audit);
		return audit_open_failed(log_file, r, f);
	}
	*ret = audit;
	return 0;
}

void audit_name_execs(struct audit *audit, audit_name_fn name)
{
	audit->exec_name = name;
}

static bool is_of_context(const struct audit_entry *entry)
{
	return entry->type == AUDIT_SECRET_NAME || entry->type == AUDIT_SESSION_EXPIRED;
}

static bool is_of_exec(const struct audit_entry *entry)
{
	return entry->type == AUDIT_EXEC_BEGIN || entry->type == AUDIT_EXEC_END;
}

static void forget(struct audit_entry *entry)
{
	if (is_of_exec(entry)) {
		free(entry->exec.id);
		free(entry->exec.context);
		free(entry->exec.program);
		strv_free(entry->exec.names);
	} else if (is_of_context(entry)) {
		free(entry->context.name);
		free(entry->context.variable);
	} else if (entry->type == AUDIT_PORT_HELD) {
		free(entry->port.service);
		free(entry->port.holder);
	}
	*entry = (struct audit_entry){ 0 };
}

void audit_close(struct audit *audit)
{
	if (!audit)
		return;
	for (size_t i = 0; i < AUDIT_KEPT; i++)
		forget(&audit->kept[i]);
	while (!list_empty(&audit->followers))
		list_remove(audit->followers.next);
	audit_log_close(audit->log);
	free(audit->instance);
	free(audit);
}

/* Records as JSON */

static void write_subject(const struct audit *audit, const struct moat_event *event, struct jbuf *b)
{
	jbuf_add_open(b, "subject", '{');
	jbuf_add_unsigned(b, "pid", event->pid);
	jbuf_key(b, "comm");
	jbuf_text_n(b, event->comm, strnlen(event->comm, sizeof(event->comm)));
	if (event->context == MOAT_CONTEXT_SELF_TEST) {
		jbuf_add_unsigned(b, "context", 0);
		jbuf_add_text(b, "contextName", "self-test");
	} else {
		jbuf_add_unsigned(b, "context", event->context);
		jbuf_add_text(b, "contextName",
			      audit->name ? audit->name(event->context, audit->name_data) : NULL);
	}
	if (audit->exec_name)
		jbuf_add_text(b, "exec", audit->exec_name(event->exec, audit->name_data));
	else
		jbuf_add_unsigned(b, "exec", event->exec);
	jbuf_close(b, '}');
}

static void write_denial(const struct audit *audit, const struct moat_event *event, struct jbuf *b)
{
	const char *name = strerrorname_np(event->err);

	jbuf_add_text(b, "hook", enforce_hook_name(event->hook));
	jbuf_add_text(b, "surface", enforce_hook_surface(event->hook));
	jbuf_add_text(b, "verdict", event->enforced ? "denied" : "would-deny");
	jbuf_add_text(b, "errno", name ? name : "unknown");
	write_subject(audit, event, b);
	jbuf_add_open(b, "object", '{');
	jbuf_add_text(b, "kind", audit_object_name(event->object_kind));
	jbuf_add_unsigned(b, "value", event->object);
	jbuf_close(b, '}');
	jbuf_add_unsigned(b, "folded", event->folded);
}

static void write_caller(pid_t pid, uid_t uid, struct jbuf *b)
{
	jbuf_add_open(b, "caller", '{');
	jbuf_add_signed(b, "pid", pid);
	jbuf_add_unsigned(b, "uid", uid);
	jbuf_close(b, '}');
}

static void write_mode(const struct audit_mode *mode, struct jbuf *b)
{
	jbuf_add_text(b, "from", enforce_mode_name(mode->from));
	jbuf_add_text(b, "to", enforce_mode_name(mode->to));
	write_caller(mode->pid, mode->uid, b);
}

static void write_context(const struct audit_context *context, struct jbuf *b)
{
	jbuf_add_text(b, "context", context->name);
	if (context->variable)
		jbuf_add_text(b, "variable", context->variable);
}

static void write_exec_begin(const struct audit_exec *exec, struct jbuf *b)
{
	size_t n = strv_len(exec->names);

	jbuf_add_text(b, "program", exec->program);
	jbuf_add_bool(b, "secure", exec->secure);
	jbuf_add_open(b, "variables", '[');
	for (size_t i = 0; i < n; i++)
		jbuf_text(b, exec->names[i]);
	jbuf_close(b, ']');
	jbuf_add_unsigned(b, "omitted", exec->n_names - n);
	write_caller(exec->pid, exec->uid, b);
}

static void write_exec_end(const struct audit_exec *exec, struct jbuf *b)
{
	char name[24];

	if (exec->exit_code < 0)
		jbuf_add_null(b, "exitCode");
	else
		jbuf_add_signed(b, "exitCode", exec->exit_code);
	jbuf_add_text(b, "signal",
		      exec->signal ? signal_name(exec->signal, name, sizeof(name)) : NULL);
	jbuf_add_bool(b, "timedOut", exec->timed_out);
	jbuf_add_bool(b, "outputLimited", exec->output_limited);
	if (exec->oom_killed < 0)
		jbuf_add_null(b, "oomKilled");
	else
		jbuf_add_bool(b, "oomKilled", exec->oom_killed);
}

static void write_exec(const struct audit_entry *entry, struct jbuf *b)
{
	jbuf_add_text(b, "exec", entry->exec.id);
	jbuf_add_text(b, "context", entry->exec.context);
	if (entry->type == AUDIT_EXEC_BEGIN)
		write_exec_begin(&entry->exec, b);
	else
		write_exec_end(&entry->exec, b);
}

static void write_port(const struct audit_port *port, struct jbuf *b)
{
	jbuf_add_text(b, "service", port->service);
	jbuf_add_unsigned(b, "port", port->port);
	jbuf_add_text(b, "holder", port->holder);
}

void audit_write(const struct audit *audit, const struct audit_entry *entry, struct jbuf *b)
{
	jbuf_open(b, '{');
	jbuf_add_unsigned(b, "seq", entry->sequence);
	jbuf_add_text(b, "type", audit_type_name(entry->type));
	jbuf_add_time(b, "time", entry->unix_ms);
	jbuf_add_text(b, "instance", audit->instance);
	if (entry->type == AUDIT_DENIAL)
		write_denial(audit, &entry->denial, b);
	else if (is_of_context(entry))
		write_context(&entry->context, b);
	else if (is_of_exec(entry))
		write_exec(entry, b);
	else if (entry->type == AUDIT_PORT_HELD)
		write_port(&entry->port, b);
	else
		write_mode(&entry->mode, b);
	jbuf_close(b, '}');
	jbuf_newline(b);
}

static void log_entry(struct audit *audit, const struct audit_entry *entry)
{
	CLEANUP(jbuf_free) struct jbuf line = { 0 };
	int r;

	audit_write(audit, entry, &line);
	r = line.failed ? -ENOMEM : audit_log_append(audit->log, line.data, line.len);
	audit->log_drops += r < 0;
	if (r < 0 && !audit->log_failed)
		log_error("cannot write audit_log: %s", strerror(-r));
	audit->log_failed = r < 0;
}

/* Followers */

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
	entry->sequence = ++audit->sequence;
	forget(&audit->kept[entry->sequence % AUDIT_KEPT]);
	audit->kept[entry->sequence % AUDIT_KEPT] = *entry;
	if (audit->log)
		log_entry(audit, entry);
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
		.unix_ms = unix_ms(),
		.mode = *mode,
	};

	record(audit, &entry);
}

static void record_context(struct audit *audit, enum audit_type type, const char *name,
			   const char *variable)
{
	struct audit_entry entry = {
		.type = type,
		.unix_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC,
		/* without memory null stands there: better than no record */
		.context = { strdup(name), variable ? strndup(variable, AUDIT_NAME_MAX) : NULL },
	};

	record(audit, &entry);
}

void audit_record_secret_name(struct audit *audit, const char *context, const char *variable)
{
	record_context(audit, AUDIT_SECRET_NAME, context, variable);
}

void audit_record_session_expired(struct audit *audit, const char *context)
{
	record_context(audit, AUDIT_SESSION_EXPIRED, context, NULL);
}

void audit_record_port_held(struct audit *audit, const char *service, uint16_t port,
			    const char *holder)
{
	struct audit_entry entry = {
		.type = AUDIT_PORT_HELD,
		.unix_ms = unix_ms(),
		.port = { strdup(service), strdup(holder), port },
	};

	record(audit, &entry);
}

/* Without memory less is kept: better than no record. */
static char **copy_names(char *const *variables)
{
	char **names = NULL;

	for (size_t i = 0; i < AUDIT_NAMES_MAX && variables && variables[i]; i++) {
		size_t n = strcspn(variables[i], "=");
		char *name PTR_OWNED =
			strndup(variables[i], n < AUDIT_NAME_MAX ? n : AUDIT_NAME_MAX);

		if (!name || strv_append(&names, name) < 0)
			break;
	}
	return names;
}

void audit_record_exec(struct audit *audit, enum audit_type type, const struct audit_exec *exec)
{
	struct audit_entry entry = {
		.type = type,
		.unix_ms = unix_ms(),
		.exec = *exec,
	};

	entry.exec.id = strdup(exec->id);
	entry.exec.context = strdup(exec->context);
	entry.exec.program = exec->program ? strndup(exec->program, AUDIT_NAME_MAX) : NULL;
	entry.exec.names = copy_names(exec->names);
	entry.exec.n_names = strv_len(exec->names);
	record(audit, &entry);
}

uint64_t audit_newest(const struct audit *audit)
{
	return audit->sequence;
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

void audit_reopen_log(struct audit *audit)
{
	if (audit->log)
		audit_log_reopen(audit->log);
}

uint64_t audit_log_drops(const struct audit *audit)
{
	return audit->log_drops;
}

const char *audit_type_name(enum audit_type type)
{
	static const char *const names[] = {
		[AUDIT_DENIAL] = "denial",
		[AUDIT_MODE] = "mode",
		[AUDIT_SECRET_NAME] = "secret-name",
		[AUDIT_PORT_HELD] = "port-held",
		[AUDIT_SESSION_EXPIRED] = "session-expired",
		[AUDIT_EXEC_BEGIN] = "exec-begin",
		[AUDIT_EXEC_END] = "exec-end",
	};

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
		[MOAT_OBJECT_DEVICE] = "device", [MOAT_OBJECT_KEY] = "key",
	};

	return object_kind < ARRAY_LEN(names) ? names[object_kind] : "unknown";
}
