/* SPDX-License-Identifier: Apache-2.0 */
/* What of ports and sockets the configuration guards and opens. See bpf/port.bpf.c, bpf/reach.bpf.c. */
#include "agent/enforce/internal.h"

/* Whether a service has the port, or opens it. */
static bool is_of_service(const struct config_service *s, uint16_t port, bool *ret_open)
{
	bool found = false;

	*ret_open = false;
	for (size_t i = 0; i < s->n_ports; i++)
		found = found || s->ports[i].port == port;
	*ret_open = found && s->reachable;
	for (size_t i = 0; i < s->n_open; i++)
		*ret_open = *ret_open || s->open[i].port == port;
	return found || *ret_open;
}

static bool is_configured(const struct config *config, uint16_t port)
{
	bool open, found = false;

	for (size_t i = 0; i < config->n_services && !found; i++)
		found = is_of_service(&config->services[i], port, &open);
	return found;
}

struct guards {
	const struct enforce *e;
	const struct config *config;
};

/* A port that the last agent guarded and that the configuration no longer names. */
static bool is_released(int map, const void *key, const void *data)
{
	const struct moat_port_key *port = key;
	const struct guards *g = data;

	(void)map;
	return port->netns != g->e->settings.netns || !is_configured(g->config, port->port);
}

static int guard(struct enforce *e, const struct config *config, size_t service,
		 const struct config_port *ports, size_t n, struct failure *f)
{
	for (size_t i = 0; i < n; i++) {
		struct moat_port_key key = { .netns = e->settings.netns };
		struct moat_port port = { .service = service };
		bool open;
		int r;

		key.port = ports[i].port;
		is_of_service(&config->services[service], key.port, &open);
		port.reachable = open;
		r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.ports), &key, &port, BPF_ANY);
		if (r < 0)
			return fail(f, -r, "cannot guard port %u", key.port);
	}
	return 0;
}

int enforce_guard_ports(struct enforce *e, const struct config *config, struct failure *f)
{
	const struct guards guards = { .e = e, .config = config };

	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *s = &config->services[i];
		int r = guard(e, config, i, s->ports, s->n_ports, f);

		if (r == 0)
			r = guard(e, config, i, s->open, s->n_open, f);
		if (r < 0)
			return r;
	}
	(void)enforce_sweep(e->bpf->maps.ports, is_released, &guards);
	return 0;
}

static int open_each(int map, char *const *list)
{
	uint32_t one = 1;
	int r = 0;

	for (; list && *list && r == 0; list++) {
		struct moat_socket_name name = { 0 };
		const char *text = *list;

		/* checked in config_value_socket(): it fits */
		memcpy(name.path, text, strnlen(text, sizeof(name.path)));
		if (text[0] == '@')
			name.path[0] = '\0';
		r = bpf_map_update_elem(map, &name, &one, BPF_ANY);
	}
	return r;
}

int enforce_open_sockets(struct enforce *e, const struct config *config, struct failure *f)
{
	int map = bpf_map__fd(e->bpf->maps.socket_names);
	int r = enforce_sweep(e->bpf->maps.socket_names, NULL, NULL); /* what the last agent opened */

	if (r == 0)
		r = open_each(map, config->reach);
	for (size_t i = 0; i < config->n_services && r == 0; i++)
		r = open_each(map, config->services[i].open_sockets);
	return r < 0 ? fail(f, -r, "cannot open unix sockets to user code") : 0;
}
