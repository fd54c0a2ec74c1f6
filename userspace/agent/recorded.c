/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/recorded.h"

#include "agent/audit/audit.h"
#include "base/log.h"

const char *recorded_context_name(uint64_t context, void *data)
{
	const struct agent *agent = data;

	return agent->execs ? execs_context_name(agent->execs, context) : NULL;
}

static const char *exec_name(uint64_t exec, void *data)
{
	const struct agent *agent = data;

	return agent->execs ? execs_name(agent->execs, exec) : NULL;
}

static void on_session_expired(const char *context, void *data)
{
	const struct agent *agent = data;

	audit_record_session_expired(agent->audit, context);
}

static void on_exec_end(const struct exec_info *info, void *data)
{
	const struct agent *agent = data;
	bool ended = info->state == EXEC_ENDED;

	audit_record_exec(agent->audit, AUDIT_EXEC_END,
			  &(struct audit_exec){
				  .id = (char *)info->id,
				  .context = (char *)info->context,
				  .exit_code = ended ? exec_info_exit_code(info) : -1,
				  .signal = info->signal,
				  .timed_out = info->timed_out,
				  .output_limited = info->output_limited,
				  .oom_killed = info->oom_killed,
			  });
}

/* What the configuration gives to all commands of a context; the API says it of what it is given. */
static void warn_of_secrets(struct context *c, void *data)
{
	const struct agent *agent = data;

	for (char **kv = c->settings->values.env; kv && *kv; kv++) {
		PTR_OWNED char *name = strndup(*kv, strcspn(*kv, "="));

		if (!name || !config_is_secret_name(name))
			continue;
		log_warning("context %s: by its name %.64s is a secret, and every command of the context can read it",
			    c->name, name);
		audit_record_secret_name(agent->audit, c->name, name);
	}
}

void recorded_begin(struct agent *agent)
{
	audit_name_execs(agent->audit, exec_name);
	execs_watch_sessions(agent->execs, on_session_expired, agent);
	execs_watch_ends(agent->execs, on_exec_end, agent);
	contexts_for_each(execs_contexts(agent->execs), warn_of_secrets, agent);
}
