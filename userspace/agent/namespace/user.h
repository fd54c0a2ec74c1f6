/* SPDX-License-Identifier: Apache-2.0 */
/* A user namespace for what an ordinary user starts (moatd --dev), where the machine lets him make one. */
#ifndef MOAT_NAMESPACE_USER_H
#define MOAT_NAMESPACE_USER_H

#include "base/base.h"
#include "init/protocol.h"

/* Tries it: INIT_WORLD_MOUNTS where mounts can be made in one, else INIT_WORLD_NONE. Before user_namespace_enter(). */
enum init_world user_namespace_world(void);
/*
 * In a child that was cloned with CLONE_NEWUSER, before it executes a program that is to have capabilities
 * there: user and group stay what they are, and are the only ones. Async-signal-safe. 0 or -errno.
 */
int user_namespace_enter(void);

#endif
