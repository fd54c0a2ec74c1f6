/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /metrics in the text exposition format 0.0.4 of Prometheus: one table of families, each with
 * its HELP and TYPE, and a function that writes its samples. Every family is always there, also
 * with nothing to tell. The numbers are those of /v1/status.
 */
#include <fcntl.h>
#include <inttypes.h>

#include "agent/api/internal.h"
#include "agent/audit/audit.h"
#include "base/log.h"

struct scrape;

struct family {
	const char *name, *type, *help;
	void (*write)(struct scrape *s);
	unsigned which; /* of several that are written by the same function */
};

/* What the families are written from, asked once. */
struct scrape {
	struct jbuf *b;
	struct api *api;
	const struct family *family; /* that is being written */
	bool hooks_known;
	struct moat_counter hooks[MOAT_HOOK_COUNT];
	struct moat_drops drops;
	struct execs_stats execs;
};

#define LABELS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_LABELS ((const char *const[]){ NULL })

/* ---- the format ---- */

static void put(struct jbuf *b, const char *text)
{
	jbuf_raw(b, text, strlen(text));
}

static void put_escaped(struct jbuf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			put(b, "\\");
		jbuf_raw(b, *text == '\n' ? "n" : text, 1);
	}
}

void api_write_sample(struct jbuf *b, const char *name, const char *const *labels,
		      const char *value)
{
	put(b, name);
	for (size_t i = 0; labels[i]; i += 2) {
		put(b, i ? "," : "{");
		put(b, labels[i]);
		put(b, "=\"");
		put_escaped(b, labels[i + 1]);
		put(b, "\"");
	}
	put(b, labels[0] ? "} " : " ");
	put(b, value);
	put(b, "\n");
}

static void write_number(struct jbuf *b, const char *name, const char *const *labels,
			 uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	api_write_sample(b, name, labels, text);
}

void api_write_histogram(struct jbuf *b, const char *name, const struct histogram *h)
{
	char series[64], text[32];
	uint64_t count = 0;

	snprintf(series, sizeof(series), "%s_bucket", name);
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		count += h->buckets[i];
		if (i < HISTOGRAM_BOUNDS)
			snprintf(text, sizeof(text), "%g",
				 (double)histogram_bounds_ns[i] / NSEC_PER_SEC);
		else
			snprintf(text, sizeof(text), "+Inf");
		write_number(b, series, LABELS("le", text), count);
	}
	snprintf(series, sizeof(series), "%s_sum", name);
	snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, h->sum_ns / (uint64_t)NSEC_PER_SEC,
		 h->sum_ns % (uint64_t)NSEC_PER_SEC);
	api_write_sample(b, series, NO_LABELS, text);
	snprintf(series, sizeof(series), "%s_count", name);
	write_number(b, series, NO_LABELS, count);
}

static void sample(struct scrape *s, const char *const *labels, uint64_t value)
{
	write_number(s->b, s->family->name, labels, value);
}

/* ---- the families ---- */

static void write_build(struct scrape *s)
{
	sample(s, LABELS("version", MOAT_VERSION), 1);
}

static void write_enforcing(struct scrape *s)
{
	sample(s, NO_LABELS, enforce_mode(s->api->agent->enforce) == MOAT_MODE_ENFORCE);
}

static void write_mode(struct scrape *s)
{
	enum moat_mode mode = enforce_mode(s->api->agent->enforce);

	for (enum moat_mode m = MOAT_MODE_OFF; m <= MOAT_MODE_ENFORCE; m++)
		sample(s, LABELS("mode", enforce_mode_name(m)), m == mode);
}

static void write_verdicts(struct scrape *s)
{
	for (unsigned i = 0; s->hooks_known && i < MOAT_HOOK_COUNT; i++) {
		const struct {
			const char *name;
			uint64_t n;
		} verdicts[] = {
			{ "allowed", s->hooks[i].allowed },
			{ "denied", s->hooks[i].denied },
			{ "would_deny", s->hooks[i].would_deny },
		};

		for (size_t v = 0; v < ARRAY_LEN(verdicts); v++)
			sample(s, LABELS("hook", enforce_hook_name(i), "surface",
					 enforce_hook_surface(i), "verdict", verdicts[v].name),
			       verdicts[v].n);
	}
}

static void write_drops(struct scrape *s)
{
	if (!s->hooks_known)
		return;
	sample(s, LABELS("reason", "folded"), s->drops.folded);
	sample(s, LABELS("reason", "ring_full"), s->drops.ring_full);
}

static void write_log_drops(struct scrape *s)
{
	sample(s, NO_LABELS, audit_log_drops(s->api->agent->audit));
}

static const char *const namespace_names[] = {
	[CONTEXT_USER] = "user", [CONTEXT_SECURE] = "secure", [CONTEXT_PRIVATE] = "private",
};

/* which: enum execs_counter */
static void write_execs(struct scrape *s)
{
	for (size_t ns = 0; ns < ARRAY_LEN(namespace_names); ns++)
		sample(s, LABELS("namespace", namespace_names[ns]),
		       s->execs.counts[ns][s->family->which]);
}

static void write_ended(struct scrape *s)
{
	static const struct {
		enum execs_counter counter;
		const char *name;
	} results[] = {
		{ EXECS_EXITED, "exited" },         { EXECS_SIGNALLED, "signalled" },
		{ EXECS_OOM_KILLED, "oom_killed" }, { EXECS_OUTPUT_LIMITED, "output_limited" },
		{ EXECS_TIMED_OUT, "timed_out" },
	};

	for (size_t ns = 0; ns < ARRAY_LEN(namespace_names); ns++)
		for (size_t i = 0; i < ARRAY_LEN(results); i++)
			sample(s,
			       LABELS("namespace", namespace_names[ns], "result", results[i].name),
			       s->execs.counts[ns][results[i].counter]);
}

static void write_spawn(struct scrape *s)
{
	api_write_histogram(s->b, s->family->name, &s->execs.spawn);
}

static void write_contexts(struct scrape *s)
{
	sample(s, NO_LABELS, s->execs.contexts);
}

enum { SERVICE_IS_UP, SERVICE_IS_READY, SERVICE_RESTARTS };

static void write_service(const struct service_info *info, void *data)
{
	const uint64_t values[] = {
		[SERVICE_IS_UP] = info->pid != 0,
		[SERVICE_IS_READY] = info->state == SERVICE_READY,
		[SERVICE_RESTARTS] = info->restarts,
	};
	struct scrape *s = data;

	sample(s, LABELS("service", info->config->name), values[s->family->which]);
}

static void write_services(struct scrape *s)
{
	services_for_each(s->api->agent->services, write_service, s);
}

static void write_answers(struct scrape *s)
{
	static const char *const classes[] = { [2] = "2xx", [4] = "4xx", [5] = "5xx" };

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (classes[i])
			sample(s, LABELS("status", classes[i]), s->api->answers[i]);
}

static void write_connections(struct scrape *s)
{
	sample(s, NO_LABELS, s->api->n_peers);
}

static void write_memory(struct scrape *s)
{
	char *text PTR_OWNED = NULL;
	unsigned long pages;

	if (read_file_at(AT_FDCWD, "/proc/self/statm", 256, &text, NULL) == 0 &&
	    sscanf(text, "%*u %lu", &pages) == 1)
		sample(s, NO_LABELS, (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void write_start_time(struct scrape *s)
{
	uint64_t ms = s->api->agent->started_unix_ms;
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
	api_write_sample(s->b, s->family->name, NO_LABELS, text);
}

static void write_lost_lines(struct scrape *s)
{
	sample(s, NO_LABELS, log_drops());
}

static const struct family families[] = {
	{ "moat_build_info", "gauge", "The version of moatd; the value is always 1.", write_build },
	{ "moat_enforcing", "gauge", "1 while the kernel refuses what it denies.",
	  write_enforcing },
	{ "moat_mode", "gauge", "1 for the mode that is in force, 0 for the others.", write_mode },
	{ "moat_verdicts_total", "counter", "Decisions of the kernel programs on user code.",
	  write_verdicts },
	{ "moat_unrecorded_denials_total", "counter",
	  "Denials without a record of their own: folded into a later one, or the ring was full.",
	  write_drops },
	{ "moat_audit_log_drops_total", "counter",
	  "Records that could not be written to audit_log.", write_log_drops },
	{ "moat_log_drops_total", "counter",
	  "Lines of moatd's log that were lost because nobody read it.", write_lost_lines },
	{ "moat_execs_started_total", "counter", "Commands that were accepted.", write_execs,
	  EXECS_STARTED },
	{ "moat_execs_failed_total", "counter", "Commands that could not be executed.", write_execs,
	  EXECS_FAILED },
	{ "moat_execs_ended_total", "counter", "Commands that have ended, by result.",
	  write_ended },
	{ "moat_execs_running", "gauge", "Commands that run now, or are being started.",
	  write_execs, EXECS_RUNNING },
	{ "moat_spawn_seconds", "histogram",
	  "From an accepted request to the answer that its command executes.", write_spawn },
	{ "moat_contexts", "gauge", "Contexts.", write_contexts },
	{ "moat_service_up", "gauge", "1 while the service has a process.", write_services,
	  SERVICE_IS_UP },
	{ "moat_service_ready", "gauge", "1 while the service is ready.", write_services,
	  SERVICE_IS_READY },
	{ "moat_service_restarts_total", "counter", "How often the service was started again.",
	  write_services, SERVICE_RESTARTS },
	{ "moat_api_requests_total", "counter", "Requests that were answered, by HTTP status.",
	  write_answers },
	{ "moat_api_connections", "gauge", "Connections to the API now.", write_connections },
	{ "process_resident_memory_bytes", "gauge", "Resident memory of moatd.", write_memory },
	{ "process_start_time_seconds", "gauge", "When moatd was started, since the Unix epoch.",
	  write_start_time },
};

static void write_family(struct scrape *s, const struct family *f)
{
	put(s->b, "# HELP ");
	put(s->b, f->name);
	put(s->b, " ");
	put(s->b, f->help);
	put(s->b, "\n# TYPE ");
	put(s->b, f->name);
	put(s->b, " ");
	put(s->b, f->type);
	put(s->b, "\n");
	s->family = f;
	f->write(s);
}

enum MHD_Result api_metrics_get(struct api_request *r)
{
	struct agent *agent = r->api->agent;
	struct scrape s = { .b = &r->reply, .api = r->api };

	s.hooks_known = enforce_counters(agent->enforce, s.hooks, &s.drops) == 0;
	execs_get_stats(agent->execs, &s.execs);
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		write_family(&s, &families[i]);
	return api_respond_text(r, "text/plain; version=0.0.4; charset=utf-8");
}
