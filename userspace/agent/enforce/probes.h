/* SPDX-License-Identifier: Apache-2.0 */
/* The probes of probe.c that are in files of their own. Each returns whether it is there and fills detail. */
#ifndef MOAT_PROBES_H
#define MOAT_PROBES_H

#include "agent/enforce/probe.h"

#define FOUND(p, ...) snprintf((p)->detail, sizeof((p)->detail), __VA_ARGS__)

/* probe_calls.c: what is needed in any case. */
bool probe_privileges(struct probe_result *p);
bool probe_oom_order(struct probe_result *p);
bool probe_user_namespace(struct probe_result *p);
bool probe_calls(struct probe_result *p);
bool probe_namespaces(struct probe_result *p);

/* probe_lsm.c: what enforcement needs. */
bool probe_lsm_list(struct probe_result *p);
bool probe_bpf_lsm(struct probe_result *p);
bool probe_bpf_attach(struct probe_result *p);
bool probe_map_types(struct probe_result *p);
bool probe_places(struct probe_result *p);

/* kernel.c: the kernel's types, which the probe reads and the start needs again. The caller owns what it takes: NULL
 * with errno, or to be freed or given back by keep. keep(NULL): nobody needs them any more. */
struct btf;
struct btf *kernel_types_take(void);
void kernel_types_keep(struct btf *types);
/* probe_lsm.c: what guards ports where enforcement cannot be. */
bool probe_port_programs(struct probe_result *p);

/* A detached mount, seen by nobody and gone with its descriptor. -1 on failure. */
int detached_mount(const char *type, const char *key, const char *value);

#endif
