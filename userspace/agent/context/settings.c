/* SPDX-License-Identifier: Apache-2.0 */
/* What configuration and API gave a context, and the environments that come of it. */
#include "agent/context/context.h"

#include "agent/config/presets.h"
#include "agent/context/workspace.h"
#include "init/protocol.h"

/* The base environment, whole. Which HOME, says build_env(). */
static const char *const base_env[] = {
	("PATH=" DEFAULT_PATH),
	"HOME=/root",
	"USER=root",
	"LANG=C.UTF-8",
};

/*
 * What a secure exec has besides. Common programs execute what lies in the directory they are started in, which
 * others have written; these do without where they are told to. The same table is in moat.conf(5).
 */
static const char *const own_env[] = { "TMPDIR=" INIT_OWN_TMP };
static const char *const careful_env[] = {
	"PYTHONSAFEPATH=1",    /* no module from the directory of a script, or from the working directory */
	"PYTHONNOUSERSITE=1",  /* nor from HOME, where the context has a real one */
	"PERL_USE_UNSAFE_INC=0",
	"GIT_CONFIG_COUNT=2",  /* nor a program that a repository names */
	"GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
	"GIT_CONFIG_KEY_1=core.hooksPath", "GIT_CONFIG_VALUE_1=/dev/null",
};

static int add_all(char ***env, const char *const *list, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = env_set(env, list[i]);
	return r;
}

static int add_presets(unsigned presets, char ***env)
{
	int r = 0;

	for (unsigned i = 0; i < CONFIG_PRESETS; i++)
		if (presets >> i & 1)
			for (const char *const *kv = config_presets[i].env; *kv && r == 0; kv++)
				r = env_set(env, *kv);
	return r;
}

/* HOME is what the context names, its workspace, or its directory if it has one; a secure exec's is its own. */
static int build_env(struct context_settings *s, bool own)
{
	const struct config_context *values = &s->values;
	const char *workspace = values->workspace;
	const char *directory = values->directory ? values->directory : workspace;
	PTR_OWNED char *home = NULL;
	char **env = NULL, **given = NULL;
	int r;

	if (asprintf(&home, "HOME=%s",
		     values->home                             ? values->home :
		     own                                      ? INIT_OWN_HOME :
		     values->workspace                        ? values->workspace :
		     directory && strcmp(directory, "/") != 0 ? directory :
								"/root") < 0) {
		home = NULL;
		return -ENOMEM;
	}
	r = add_all(&env, base_env, ARRAY_LEN(base_env));
	if (r == 0)
		r = env_set(&env, home);
	if (r == 0)
		r = add_presets(values->presets, &env);
	if (r == 0 && workspace && !own)
		r = workspace_base_env(values, directory, &env);
	if (r == 0 && own)
		r = add_all(&env, own_env, ARRAY_LEN(own_env));
	if (r == 0 && own && !values->careless)
		r = add_all(&env, careful_env, ARRAY_LEN(careful_env));
	if (r == 0 && values->env)
		r = strv_copy(values->env, &given);
	if (r == 0 && own && given)
		r = workspace_careful_path(values, &given);
	if (r == 0)
		r = context_env_build(env, given, &s->env[own], &s->env_size[own]);
	strv_free_wiped(given);
	strv_free(env);
	s->directory[own] = directory                  ? directory :
			    !own                       ? "/" :
			    values->home               ? values->home :
							 INIT_OWN_HOME;
	return r;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

int context_values_copy(const struct config_context *values, struct config_context *ret)
{
	struct config_context copy = *values;
	int r = 0;

	copy.name = copy.directory = copy.home = copy.workspace = NULL;
	copy.env = copy.show = copy.links = NULL;
	copy.line = 0;
	if (values->env)
		r = strv_copy(values->env, &copy.env);
	if (r == 0)
		r = copy_text(values->directory, &copy.directory);
	if (r == 0)
		r = copy_text(values->home, &copy.home);
	if (r == 0)
		r = copy_text(values->workspace, &copy.workspace);
	if (r == 0 && values->links)
		r = strv_copy(values->links, &copy.links);
	if (r < 0)
		context_values_clear(&copy);
	else
		*ret = copy;
	return r;
}

void context_values_clear(struct config_context *values)
{
	strv_free_wiped(values->env);
	strv_free(values->links);
	free(values->directory);
	free(values->home);
	free(values->workspace);
	*values = (struct config_context){ 0 };
}

static size_t env_bytes(const struct context_settings *s)
{
	return s->env_size[0] + s->env_size[1];
}

int context_settings_make(const struct config_context *values, size_t *total,
			  struct context_settings **ret)
{
	struct context_settings *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->refs = 1;
	r = context_values_copy(values, &s->values);
	if (r == 0)
		r = build_env(s, false);
	if (r == 0)
		r = build_env(s, true);
	if (r < 0) {
		context_settings_unref(s, NULL);
		return r;
	}
	if (total)
		*total += env_bytes(s);
	*ret = s;
	return 0;
}

void context_settings_unref(struct context_settings *s, size_t *total)
{
	if (!s || --s->refs > 0)
		return;
	if (total)
		*total -= env_bytes(s);
	context_values_clear(&s->values);
	free_wiped(s->env[0], s->env_size[0]);
	free_wiped(s->env[1], s->env_size[1]);
	free(s);
}

/* Whether one of over has the key of kv. */
static bool overridden(const char *kv, char *const *over)
{
	size_t n = strcspn(kv, "=") + 1;

	for (; over && *over; over++)
		if (strncmp(*over, kv, n) == 0)
			return true;
	return false;
}

int context_env_build(char *const *base, char *const *over, char ***ret_vector, size_t *ret_size)
{
	size_t n = strv_len(base) + strv_len(over), size = (n + 1) * sizeof(char *);
	char **vector, **out, *text;

	for (char *const *s = base; s && *s; s++)
		size += strlen(*s) + 1;
	for (char *const *s = over; s && *s; s++)
		size += strlen(*s) + 1;
	vector = out = calloc(1, size);
	if (!vector)
		return -ENOMEM;
	text = (char *)(vector + n + 1);
	for (char *const *s = base; s && *s; s++)
		if (!overridden(*s, over)) {
			*out++ = text;
			text = (char *)mempcpy(text, *s, strlen(*s) + 1);
		}
	for (char *const *s = over; s && *s; s++) {
		*out++ = text;
		text = (char *)mempcpy(text, *s, strlen(*s) + 1);
	}
	*ret_vector = vector;
	*ret_size = size;
	return 0;
}
