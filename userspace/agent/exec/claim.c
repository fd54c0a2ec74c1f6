/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids that clients chose, so that a request which is sent again runs nothing twice. An id is taken from the moment its command is
 * accepted; when the result is forgotten a claim without one stays for an hour, by hashes alone, since ids and bodies may hold
 * what is secret. When there are too many, new ones are refused: none is forgotten before its time.
 */
#include <sys/random.h>

#include "agent/exec/internal.h"
#include "base/siphash.h"

struct exec_claim {
	struct list link;        /* in claims->gone, once exec is */
	struct exec_claim *next; /* in its bucket */
	uint64_t id[2], body[2];
	struct exec *exec;
	uint64_t until_ns; /* without exec */
	int exit_code;     /* the same; as it was answered */
};

struct exec_claims {
	uint64_t key[2];
	struct list gone; /* in the order in which they expire */
	size_t n, max;
	struct exec_claim *buckets[8192];
};

int exec_claims_open(struct execs *execs)
{
	struct exec_claims *claims = calloc(1, sizeof(*claims));

	if (!claims)
		return -ENOMEM;
	execs->claims = claims;
	claims->max = EXEC_CLAIMS_MAX;
	list_init(&claims->gone);
	if (getrandom(claims->key, sizeof(claims->key), 0) != (ssize_t)sizeof(claims->key))
		return errno ? -errno : -EIO;
	return 0;
}

void execs_limit_claims(struct execs *execs, size_t max)
{
	execs->claims->max = max;
}

static struct exec_claim **bucket_of(struct exec_claims *claims, const uint64_t id[2])
{
	return &claims->buckets[id[0] % ARRAY_LEN(claims->buckets)];
}

static struct exec_claim *lookup(struct exec_claims *claims, const char *id)
{
	struct exec_claim *c;
	uint64_t hash[2];

	siphash128(claims->key, id, strlen(id), hash);
	c = *bucket_of(claims, hash);
	while (c && (c->id[0] != hash[0] || c->id[1] != hash[1]))
		c = c->next;
	return c;
}

static void forget(struct exec_claims *claims, struct exec_claim *c)
{
	struct exec_claim **at = bucket_of(claims, c->id);

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	list_remove(&c->link);
	claims->n--;
	free(c);
}

static void expire(struct exec_claims *claims, uint64_t now)
{
	list_for_each_safe(pos, &claims->gone) {
		struct exec_claim *c = list_entry(pos, struct exec_claim, link);

		if (c->until_ns > now)
			return;
		forget(claims, c);
	}
}

void exec_claims_close(struct execs *execs)
{
	if (!execs->claims)
		return;
	expire(execs->claims, UINT64_MAX);
	free(take_ptr(execs->claims));
}

bool exec_id_valid(const char *id)
{
	size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	if (n < 1 || n > EXEC_ID_MAX || id[n])
		return false;
	/* Those that the agent gives, and what a client takes out of a path. */
	return !(id[0] == 'x' && id[1] >= '0' && id[1] <= '9') && strcmp(id, ".") != 0 &&
	       strcmp(id, "..") != 0;
}

struct exec *exec_claimed(const struct execs *execs, const char *id)
{
	struct exec_claim *c = lookup(execs->claims, id);

	return c ? c->exec : NULL;
}

int execs_recall(struct execs *execs, const struct exec_request *request, struct exec **ret,
		 struct refusal *e)
{
	struct exec_claims *claims = execs->claims;
	struct exec_claim *c;
	uint64_t body[2];

	*ret = NULL;
	if (!request->id)
		return 0;
	expire(claims, now_ns());
	c = lookup(claims, request->id);
	if (!c)
		return 0;
	siphash128(claims->key, request->body, request->body_len, body);
	if (c->body[0] != body[0] || c->body[1] != body[1])
		return refuse(e, MOAT_E_ID_TAKEN, "another request has taken the id %s",
			      request->id);
	if (!c->exec) {
		refuse(e, MOAT_E_RESULT_GONE,
		       "%s has run and ended, and its result is not kept any more", request->id);
		e->exit_code = c->exit_code;
		return -EINVAL;
	}
	*ret = c->exec;
	return 0;
}

int exec_claim(struct exec *x, const struct exec_request *request, struct refusal *e)
{
	struct exec_claims *claims = x->execs->claims;
	struct exec_claim *c, **bucket;

	if (!request->id)
		return 0;
	if (lookup(claims, request->id))
		return refuse(e, MOAT_E_ID_TAKEN, "the id %s is taken", request->id);
	if (claims->n >= claims->max) {
		refuse(e, MOAT_E_TOO_MANY_IDS, "%zu ids are taken; try again later, or without one",
		       claims->n);
		e->limit = (long long)claims->max;
		return -EINVAL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return exec_describe_errno(e, -ENOMEM);
	siphash128(claims->key, request->id, strlen(request->id), c->id);
	siphash128(claims->key, request->body, request->body_len, c->body);
	c->exec = x;
	list_init(&c->link);
	bucket = bucket_of(claims, c->id);
	c->next = *bucket;
	*bucket = c;
	claims->n++;
	x->claim = c;
	snprintf(x->id, sizeof(x->id), "%s", request->id);
	return 0;
}

void exec_claim_leave(struct exec *x, int exit_code)
{
	struct exec_claims *claims = x->execs->claims;
	struct exec_claim *c = take_ptr(x->claim);

	if (!c)
		return;
	/* What never ran may be sent again. */
	if (exec_state_of(x) != EXEC_ENDED) {
		forget(claims, c);
		return;
	}
	c->exec = NULL;
	c->exit_code = exit_code;
	c->until_ns = now_ns() + EXEC_CLAIM_NS;
	list_append(&claims->gone, &c->link);
}
