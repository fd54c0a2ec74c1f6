/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of the audit log: whole lines appended to it, at its limit begun anew, opened again where
 * somebody has moved or removed it. Nothing here trusts a name: what lies at the path must be a plain
 * file of ours with one name, and rotation gets past whatever stands in the place of FILE.1.
 */
#ifndef MOAT_AUDIT_LOG_H
#define MOAT_AUDIT_LOG_H

#include "base/base.h"
#include "base/loop.h"

#define AUDIT_LOG_MAX (64u * 1024 * 1024) /* then it becomes FILE.1, in the place of an older one */

struct audit_log;

/*
 * Opens path, created with mode 0600; an existing file gets that mode. loop (borrowed) watches whether
 * the file is moved or removed; NULL: nobody does. -ENOTSUP: not a plain file; -EPERM: another user's;
 * -EMLINK: it has other names; other -errno of open(2). Free with audit_log_close().
 */
int audit_log_open(const char *path, struct loop *loop, struct audit_log **ret);
void audit_log_close(struct audit_log *log);

/* Appends n bytes, all or nothing. 0 or -errno: they are lost. */
int audit_log_append(struct audit_log *log, const void *data, size_t n);
/* Opens whatever is at the path now (after logrotate(8), on SIGHUP). On failure every append tries again. */
void audit_log_reopen(struct audit_log *log);

#endif
