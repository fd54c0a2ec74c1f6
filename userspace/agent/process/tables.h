/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's tables that are counted for the machine or per user: user code, which is the same
 * user, fills them for the control plane as well.
 */
#ifndef MOAT_TABLES_H
#define MOAT_TABLES_H

/*
 * Raises their sizes beyond what user code has the memory for, which each entry is charged to. So
 * call it only where that memory is limited. As far as it is allowed; never lowers one, and they
 * stay.
 */
void tables_raise(void);

#endif
