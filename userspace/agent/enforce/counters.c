/* SPDX-License-Identifier: Apache-2.0 */
/* The hooks by name, and what they have counted. */
#include "agent/enforce/internal.h"

static const struct {
	const char *name, *surface;
} hooks[] = {
#define HOOK_ROW(hook, surface, err) { #hook, surface },
	MOAT_HOOKS(HOOK_ROW)
#undef HOOK_ROW
};

const char *enforce_hook_name(enum moat_hook hook)
{
	return hook < MOAT_HOOK_COUNT ? hooks[hook].name : "unknown";
}

const char *enforce_hook_surface(enum moat_hook hook)
{
	return hook < MOAT_HOOK_COUNT ? hooks[hook].surface : "unknown";
}

static int sum_counter(struct enforce *e, uint32_t hook, struct moat_counter *cpu, int n_cpus,
		       struct moat_counter *ret)
{
	int r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.counters), &hook, cpu);

	if (r < 0)
		return r;
	*ret = (struct moat_counter){ 0 };
	for (int i = 0; i < n_cpus; i++) {
		ret->allowed += cpu[i].allowed;
		ret->denied += cpu[i].denied;
		ret->would_deny += cpu[i].would_deny;
	}
	return 0;
}

static int sum_drops(struct enforce *e, int n_cpus, struct moat_drops *ret)
{
	PTR_OWNED struct moat_drops *cpu = calloc(n_cpus, sizeof(*cpu));
	uint32_t zero = 0;
	int r;

	if (!cpu)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.drops), &zero, cpu);
	if (r < 0)
		return r;
	*ret = (struct moat_drops){ 0 };
	for (int i = 0; i < n_cpus; i++) {
		ret->ring_full += cpu[i].ring_full;
		ret->folded += cpu[i].folded;
	}
	return 0;
}

int enforce_counters(struct enforce *e, struct moat_counter *ret_counters,
		     struct moat_drops *ret_drops)
{
	int n_cpus = libbpf_num_possible_cpus();
	PTR_OWNED struct moat_counter *cpu = NULL;

	if (!e->bpf) {
		memset(ret_counters, 0, MOAT_HOOK_COUNT * sizeof(*ret_counters));
		*ret_drops = (struct moat_drops){ 0 };
		return 0;
	}
	if (n_cpus < 0)
		return n_cpus;
	cpu = calloc(n_cpus, sizeof(*cpu));
	if (!cpu)
		return -ENOMEM;
	for (uint32_t hook = 0; hook < MOAT_HOOK_COUNT; hook++) {
		int r = sum_counter(e, hook, cpu, n_cpus, &ret_counters[hook]);

		if (r < 0)
			return r;
	}
	return sum_drops(e, n_cpus, ret_drops);
}
