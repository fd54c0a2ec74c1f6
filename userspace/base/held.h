/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the agent holds for clients: bodies that have not arrived whole, captured output,
 * answers that nobody has read yet. User code decides how much of it there is, so all of it counts
 * against one bound; what is beyond has to be done without.
 */
#ifndef MOAT_HELD_H
#define MOAT_HELD_H

#include "base/base.h"

/* The bound, in bytes. Before it is set there is a small one. */
void held_set_max(size_t max);
size_t held_max(void);
size_t held_used(void);
/* False when it would go beyond the bound; then nothing is counted. */
bool held_take(size_t n);
/* For what cannot be refused any more: also beyond the bound. */
void held_force(size_t n);
/* Also has the C library return what became free, when that was much. */
void held_give(size_t n);
/* Three quarters are used: nothing new should begin, so that what has begun can end. */
bool held_scarce(void);

#endif
