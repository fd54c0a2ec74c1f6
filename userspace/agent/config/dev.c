/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration means to an ordinary user: moatd --dev. */
#include "agent/config/config.h"

#include <stdlib.h>

/* As the user's own programs have it. */
static int add_env(struct config_context *c)
{
	static const char *const names[] = { "PATH", "USER", "LANG" };
	int r = env_get(c->env, "TMPDIR") ? 0 : env_set(&c->env, "TMPDIR=/tmp");

	for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++) {
		const char *value = getenv(names[i]);
		PTR_OWNED char *text = NULL;

		if (!value || env_get(c->env, names[i]))
			continue;
		if (asprintf(&text, "%s=%s", names[i], value) < 0) {
			text = NULL;
			return -ENOMEM;
		}
		r = env_set(&c->env, text);
	}
	return r;
}

int config_make_dev(struct config *config)
{
	const char *home = getenv("HOME");
	int r = 0;

	config->dev = true;
	config->enforce = ENFORCE_BEST_EFFORT;
	config->keep_pins = false;
	for (size_t i = 0; i < config->n_contexts && r == 0; i++) {
		struct config_context *c = &config->contexts[i];

		c->shared_pid = c->no_new_privs = true;
		c->own_tmp = false;
		c->capabilities = 0;
		r = add_env(c);
		if (r == 0 && !c->home && home && *home == '/' && !(c->home = strdup(home)))
			r = -ENOMEM;
	}
	return r;
}

int config_dev_state_dir(char **ret)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n = runtime && *runtime == '/' ? asprintf(ret, "%s/moat", runtime) :
					     asprintf(ret, "/tmp/moat-%u", (unsigned)geteuid());

	return n < 0 ? -ENOMEM : 0;
}
