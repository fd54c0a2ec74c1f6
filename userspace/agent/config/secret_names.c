/* SPDX-License-Identifier: Apache-2.0 */
/* What the variables are called that people keep secrets in. */
#include <fnmatch.h>

#include "agent/config/config.h"

static const struct {
	const char *pattern; /* without regard to case; the first that fits decides */
	bool secret;
} names[] = {
	{ "*PUBLIC*", false },
	{ "*TOKEN", true }, /* and no word more: MAX_TOKENS, TOKENIZERS_PARALLELISM */
	{ "*_TOKEN_*", true },
	{ "*SECRET*", true },
	{ "*PASSWORD*", true },
	{ "*PASSWD*", true },
	{ "*PASSPHRASE*", true },
	{ "*_PASS", true },
	{ "*CREDENTIAL*", true },
	{ "*APIKEY*", true },
	{ "*_KEY", true }, /* API_KEY, SIGNING_KEY */
	{ "*ACCESS_KEY*", true },
	{ "*PRIVATE_KEY*", true },
	{ "*API_KEY*", true },
	{ "*_PAT", true },
	{ "*_AUTH", true },
	{ "*_DSN", true },
	{ "*DATABASE_URL", true }, /* with the password in it */
	{ "*CONNECTION_STRING*", true },
};

bool config_is_secret_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (fnmatch(names[i].pattern, name, FNM_CASEFOLD | FNM_NOESCAPE) == 0)
			return names[i].secret;
	return false;
}
