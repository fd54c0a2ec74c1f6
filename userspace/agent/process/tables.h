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

/*
 * Lets every group send ICMP echo requests (icmp(7), ping_group_range), as container engines do: where the kernel's default
 * is in force, which lets nobody. ping's file gives no privilege to who has no_new_privs. It stays.
 */
void tables_allow_ping(void);

#endif
