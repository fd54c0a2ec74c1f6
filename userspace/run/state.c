/* SPDX-License-Identifier: Apache-2.0 */
/* What a string changes goes back to the agent: name by name, whole or not at all, once. */
#include <sys/socket.h>

#include "run/internal.h"
#include "run/protocol.h"

struct packet {
	char *data; /* room for all that there may be; hardly any of it is touched */
	size_t at;
	unsigned count, names;
	size_t bytes; /* of the names and their values */
	bool full;
};

static void put(struct packet *p, enum run_entry kind, const char *name, const char *value)
{
	size_t n = strlen(name), m = value ? strlen(value) + 1 : 0, size = 1 + n + m + 1;
	bool is_name = kind != RUN_DIRECTORY;

	p->names += is_name;
	p->bytes += is_name ? size : 0;
	if (p->full || p->names > RUN_STATE_NAMES_MAX || p->bytes > RUN_STATE_BYTES_MAX ||
	    (!is_name && n >= RUN_PATH_MAX)) {
		p->full = true;
		return;
	}
	p->data[p->at++] = (char)kind;
	p->at = (size_t)((char *)mempcpy(p->data + p->at, name, n) - p->data);
	if (value) {
		p->data[p->at++] = '=';
		p->at = (size_t)((char *)mempcpy(p->data + p->at, value, m - 1) - p->data);
	}
	p->data[p->at++] = '\0';
	p->count++;
}

/* Where we are is told by the directory. */
static bool is_told(const char *name)
{
	return strcmp(name, "PWD") != 0;
}

static void put_changes(struct packet *p, const struct run *r)
{
	if (r->moved && r->pwd)
		put(p, RUN_DIRECTORY, r->pwd, NULL);
	for (size_t i = 0; i < r->n_variables; i++) {
		const struct variable *v = &r->variables[i];

		if (v->changed && is_told(v->name))
			put(p, v->exported ? RUN_EXPORTED : RUN_VARIABLE, v->name, v->value);
	}
	for (char **name = r->unset; name && *name; name++)
		if (is_told(*name) && !variable_is_there(r, *name))
			put(p, RUN_UNSET, *name, NULL);
}

void state_return(struct run *r)
{
	struct run_packet head = { .magic = RUN_MAGIC, .says = RUN_SAYS_STATE };
	struct packet p = { .at = sizeof(head) };

	if (r->state_fd < 0)
		return;
	p.data = malloc(sizeof(head) + RUN_ENTRIES_MAX);
	if (p.data) {
		put_changes(&p, r);
		if (p.full)
			head.says = RUN_SAYS_TOO_LARGE;
		else
			head.count = p.count;
		head.len = p.full ? 0 : (uint32_t)(p.at - sizeof(head));
		memcpy(p.data, &head, sizeof(head));
		/* Who has taken our place at the socket, or closed it, gets no answer out of us. */
		(void)send(r->state_fd, p.data, sizeof(head) + head.len,
			   MSG_NOSIGNAL | MSG_DONTWAIT);
		free_wiped(p.data, p.at);
	}
	close_fd(&r->state_fd);
}

void state_forget(struct run *r)
{
	close_fd(&r->state_fd);
}
