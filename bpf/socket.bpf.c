/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: whose sockets they are. The account that port.bpf.c and reach.bpf.c judge by (socket.h).
 *
 * Policy: a unix socket is that of who made it or, where that is the control plane, bound it; an inet socket
 * is accounted for from bind(2) or listen(2) until it is gone. The file that the control plane binds a socket
 * to stays where it is: user code cannot remove, rename or replace it, nor, while it is there, move the
 * directories that lead to it (protect.bpf.c), and so answer in its name.
 *
 * Hooks: socket_post_create (ENOMEM), sk_free_security; inode_mknod (protect.bpf.c) and d_instantiate, which
 * follow one another when a socket is bound to a path.
 */
#include "socket.h"

bool ports_pending;
bool sockets_known;
bool datagrams_shared;
__u32 bound_by_users;

SEC("lsm/socket_post_create")
int BPF_PROG(moat_socket_post_create, struct socket *sock, int family, int type, int protocol,
	     int kern, int ret)
{
	const struct moat_label *l;
	struct sock *sk;

	if (ret)
		return ret;
	if (family != AF_UNIX)
		return 0;
	l = label_of(bpf_get_current_task_btf());
	sk = sock->sk;
	if (!l || l->role == MOAT_ROLE_NONE || !sk)
		return 0;
	return own_socket(sk, l);
}

/* Asked for every socket that goes. */
SEC("lsm/sk_free_security")
int BPF_PROG(moat_sk_free_security, struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct bound *b;

	if (!sockets_known)
		return 0;
	b = bpf_map_lookup_elem(&bound, &address);
	if (!b)
		return 0;
	if (b->label.role == MOAT_ROLE_CONTROL)
		bpf_map_delete_elem(&pending, &address);
	else
		__sync_fetch_and_sub(&bound_by_users, 1);
	bpf_map_delete_elem(&bound, &address); /* readable until we return */
	release_port(b);
	return 0;
}

static __always_inline void mark_directory(struct inode *dir, struct socket_file *file)
{
	struct socket_file *f = bpf_inode_storage_get(&socket_files, dir, file, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (f) /* it led to another one before */
		*f = *file;
}

/* Asked whenever an entry gets an inode, found or new: this one is new. */
SEC("lsm/d_instantiate")
int BPF_PROG(moat_d_instantiate, struct dentry *dentry, struct inode *inode)
{
	struct socket_file file = { .inode = (__u64)inode };
	struct dentry *at = dentry;
	struct moat_task *t;

	if (!inode || (inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	t = task_of(bpf_get_current_task_btf());
	if (!t || t->label.role != MOAT_ROLE_CONTROL || t->next.exec != (__u64)dentry)
		return 0;
	t->next.exec = 0;
	file.number = inode->i_ino;
	bpf_inode_storage_get(&socket_files, inode, &file, BPF_LOCAL_STORAGE_GET_F_CREATE);
	for (int i = 0; i < SOCKET_DEPTH_MAX; i++) {
		struct inode *dir;

		at = at->d_parent;
		if (!at)
			break;
		dir = at->d_inode;
		if (!dir)
			break;
		mark_directory(dir, &file);
	}
	return 0;
}
