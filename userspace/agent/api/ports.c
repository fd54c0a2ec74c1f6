/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/ports: who listens on what, and waiting for it. Nobody tells when a socket begins to listen, so as long as somebody waits
 * the kernel is asked again and again. */
#include "agent/api/internal.h"
#include "agent/service/service.h"

#define LOOK_NS (250 * NSEC_PER_MSEC)

struct api_port_wait {
	struct api_request *request;
	struct loop_timer timer;
	uint64_t until_ns; /* 0: no end */
	uint16_t port;
};

struct listing {
	struct jbuf *b;
	uint16_t port; /* 0: all */
	size_t n;
};

static void write_port(struct listing *l, uint16_t port, const char *protocol, const char *address,
		       const struct exec_info *info, const char *service)
{
	if (l->port && l->port != port)
		return;
	l->n++;
	if (!l->b)
		return;
	jbuf_open(l->b, '{');
	jbuf_add_unsigned(l->b, "port", port);
	jbuf_add_text(l->b, "protocol", protocol);
	jbuf_add_text(l->b, "address", address);
	jbuf_add_text(l->b, "context", info ? info->context : NULL);
	jbuf_add_text(l->b, "id", info ? info->id : NULL);
	jbuf_add_text(l->b, "service", service);
	jbuf_close(l->b, '}');
}

static void on_port(const struct exec_port *port, void *data)
{
	struct exec_info info;

	exec_get_info(port->exec, &info);
	write_port(data, port->port, port->protocol, port->address, &info, NULL);
}

static void on_socket(const struct service_socket *socket, void *data)
{
	if (strcmp(socket->protocol, "unix") != 0)
		write_port(data, socket->port, socket->protocol, socket->address, NULL, socket->service);
}

static int list_ports(struct api_request *r, struct listing *l)
{
	int result = execs_for_each_port(r->api->agent->execs, on_port, l);

	if (result == 0)
		(void)services_for_each_socket(r->api->agent->services, on_socket, l);
	return result;
}

enum MHD_Result api_ports_list(struct api_request *r)
{
	struct listing l = { .b = &r->reply };

	api_list_open(r, "ports");
	if (list_ports(r, &l) < 0) {
		refuse(&r->error, MOAT_E_INTERNAL, "the kernel does not say who listens");
		return api_refuse(r);
	}
	return api_respond_list(r);
}

static void write_answer(struct api_request *r, uint16_t port)
{
	struct listing l = { .b = &r->reply, .port = port };

	jbuf_open(&r->reply, '{');
	jbuf_add_unsigned(&r->reply, "port", port);
	jbuf_add_open(&r->reply, "listeners", '[');
	(void)list_ports(r, &l);
	jbuf_close(&r->reply, ']');
	jbuf_add_bool(&r->reply, "listening", l.n > 0);
	jbuf_close(&r->reply, '}');
	r->status = 200;
}

static bool is_open(struct api_request *r, uint16_t port)
{
	struct listing l = { .port = port };

	return list_ports(r, &l) < 0 || l.n > 0;
}

static void on_look(struct loop_timer *timer)
{
	struct api_port_wait *w = container_of(timer, struct api_port_wait, timer);
	struct api_request *r = w->request;

	if (!is_open(r, w->port) && (!w->until_ns || now_ns() < w->until_ns) &&
	    loop_timer_set(r->api->agent->loop, &w->timer, LOOK_NS, on_look) == 0)
		return;
	write_answer(r, w->port);
	api_resume(r);
}

void api_port_detach(struct api_request *r)
{
	struct api_port_wait *w = take_ptr(r->port_wait);

	if (!w)
		return;
	loop_timer_cancel(r->api->agent->loop, &w->timer);
	free(w);
}

enum MHD_Result api_port_get(struct api_request *r)
{
	const char *state = api_query(r, "state");
	uint64_t timeout_ms = 0, port = 0;

	if (r->id[0] >= '1' && r->id[0] <= '9' && strspn(r->id, "0123456789") == strlen(r->id) && strlen(r->id) < 6)
		port = strtoull(r->id, NULL, 10);
	if (port == 0 || port > UINT16_MAX || (state && strcmp(state, "listening") != 0)) {
		refuse(&r->error, MOAT_E_BAD_VALUE, state ? "state must be listening" : "a port is 1 to 65535");
		snprintf(r->error.field, sizeof(r->error.field), "%s", state ? "state" : "port");
		return api_refuse(r);
	}
	if (api_query_number(r, "timeoutMs", 1, EXEC_TIMEOUT_MAX_MS, &timeout_ms) < 0)
		return api_refuse(r);
	if (!state || is_open(r, (uint16_t)port)) {
		write_answer(r, (uint16_t)port);
		return api_respond(r, r->status);
	}
	r->port_wait = calloc(1, sizeof(*r->port_wait));
	if (!r->port_wait) {
		refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
		return api_refuse(r);
	}
	*r->port_wait = (struct api_port_wait){ .request = r, .port = (uint16_t)port,
						.until_ns = timeout_ms ? now_ns() + timeout_ms * NSEC_PER_MSEC : 0 };
	if (loop_timer_set(r->api->agent->loop, &r->port_wait->timer, LOOK_NS, on_look) < 0) {
		refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
		return api_refuse(r);
	}
	api_suspend(r);
	return MHD_YES;
}
