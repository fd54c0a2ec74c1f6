/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: mounts and file systems as a whole.
 *
 * Policy: user code mounts what it likes in its mount namespace, but
 *  - no door to the kernel (door.h), and no disk: a file system on a block device may hold the
 *    control plane's files;
 *  - no file system that was there already (devtmpfs, which has the machine's devices in it), but for
 *    the message queues of its IPC namespace;
 *  - no hierarchy of cgroups version 1, which would take controllers and name programs to be run;
 *  - no file system whose kernel side connects to a network: it would reach the control plane's ports;
 *  - nothing over protected files (protect.h);
 *  - it moves no other root under the commands to come (pivot_root(2)): for that it makes a mount
 *    namespace of its own;
 *  - where commands run, in the mount namespace of a moat-init, it does not take off, move or change the
 *    mounts that were there from the start: later commands rely on them. mount_setattr(2) is refused as a whole
 *    there (machine.bpf.c), for no hook sees of which mount, and so is MS_MOVE;
 *  - it changes the options of, and shuts down by a forced umount, only file systems that user code
 *    made: a superblock is everybody's who has it mounted.
 * The answer is EPERM.
 *
 * Hooks: sb_alloc_security and sb_free_security (whose it is), sb_set_mnt_opts (every creation of a
 * superblock, by mount(2) and fsconfig(2) alike), fs_context_parse_param, sb_kern_mount, sb_mount,
 * move_mount, sb_pivotroot, sb_remount, sb_umount.
 */
#include "door.h"
#include "mounts.h"
#include "name.h"
#include "protect.h"
#include "superblock.h"

/* include/uapi/linux/mount.h */
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_PROPAGATION (1ul << 17 | 1ul << 18 | 1ul << 19 | 1ul << 20)
#define MNT_FORCE 1

/* Spares all others the look-up until user code has made one. */
bool own_superblocks;

SEC("lsm/sb_alloc_security")
int BPF_PROG(moat_sb_alloc_security, struct super_block *sb, int ret)
{
	__u64 address = (__u64)sb;
	__u32 one = 1;

	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	own_superblocks = true;
	bpf_map_update_elem(&superblocks, &address, &one, BPF_ANY); /* else it is not their own */
	return 0;
}

SEC("lsm/sb_free_security")
int BPF_PROG(moat_sb_free_security, struct super_block *sb)
{
	__u64 address = (__u64)sb;

	if (own_superblocks)
		bpf_map_delete_elem(&superblocks, &address);
	return 0;
}

/* Not every file system on a device names it in s_bdev: those of btrfs may have several. */
static __always_inline bool is_on_disk(const struct super_block *sb)
{
	return sb->s_bdev || (sb->s_type->fs_flags & FS_REQUIRES_DEV);
}

static __always_inline bool is_others(const struct super_block *sb)
{
	return door_of(sb->s_magic) == DOOR_NONE && sb->s_magic != MQUEUE_MAGIC &&
	       !superblock_is_own(sb);
}

/* Also where an existing superblock is found: no disk gets mounted a second time. */
SEC("lsm/sb_set_mnt_opts")
int BPF_PROG(moat_sb_set_mnt_opts, struct super_block *sb, void *options, unsigned long kern_flags,
	     unsigned long *set_kern_flags, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (is_on_disk(sb) || is_others(sb) || sb->s_magic == CGROUP_SUPER_MAGIC)
		return deny(MOAT_HOOK_sb_set_mnt_opts, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
	return allow(MOAT_HOOK_sb_set_mnt_opts);
}

/* Mounting a door, or moving or binding such a mount. */
static __always_inline int use_mount(__u32 hook, const struct super_block *sb)
{
	enum door door = door_of(sb->s_magic);

	if (door == DOOR_NONE || door == DOOR_READ || !user_subject())
		return 0;
	if (door == DOOR_PROC)
		return use_proc(hook, sb);
	return deny(hook, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}

static __always_inline struct mount *mount_of(const struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* A mount on it may appear in other mount namespaces as well (shared subtrees). */
static __always_inline bool is_shared(const struct path *path)
{
	struct mount *mount = mount_of(path->mnt);

	return BPF_CORE_READ(mount, mnt_group_id);
}

/*
 * Whether user code has to leave a mount as it is: it is one of those that the agent found in the mount
 * namespace of a moat-init when that had set it up, and on which later commands rely. Their copies in a
 * mount namespace of its own are its own.
 */
static __always_inline bool mount_must_stay(const struct vfsmount *mnt)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mount *mount = mount_of(mnt);
	struct moat_mount_key key = {
		.id = BPF_CORE_READ(mount, mnt_id),
		.mnt_ns = task->nsproxy->mnt_ns->ns.inum,
	};

	return bpf_map_lookup_elem(&mounts, &key);
}

/*
 * umount2(2) of the caller's root, if not lazily, makes the whole file system read-only for everybody
 * (do_umount_root() in fs/namespace.c).
 */
static __always_inline bool is_own_root(const struct vfsmount *mnt)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return BPF_CORE_READ(task, fs, root.mnt) == mnt;
}

/*
 * Mounting over something: not over what is protected; nor, where later commands would see it, over a
 * directory that leads there.
 */
static __always_inline int use_mount_point(__u32 hook, const struct path *path)
{
	struct dentry *entry = path->dentry;
	struct inode *inode;
	struct place place;

	if (!user_subject())
		return 0;
	inode = BPF_CORE_READ(entry, d_inode);
	place = place_of(inode);
	if (!place.flags)
		return allow(hook);
	if (!entry_is_protected(entry, place) &&
	    !((marks_of(inode, place) & ~MOAT_PROTECT_PLACE) && (in_mounts_of_init() || is_shared(path))))
		return allow(hook);
	return deny_change(hook, entry, inode, place);
}

/* To take a mount off, move it, or change its flags. */
static __always_inline int change_mount(__u32 hook, const struct vfsmount *mnt)
{
	if (!user_subject())
		return 0;
	if (!mount_must_stay(mnt))
		return allow(hook);
	return deny(hook, EPERM, MOAT_OBJECT_MOUNT, mnt->mnt_sb->s_dev);
}

SEC("lsm/sb_kern_mount")
int BPF_PROG(moat_sb_kern_mount, struct super_block *sb, int ret)
{
	if (ret)
		return ret;
	if (sb->s_magic == CGROUP_SUPER_MAGIC && user_subject())
		return deny(MOAT_HOOK_sb_kern_mount, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
	return use_mount(MOAT_HOOK_sb_kern_mount, sb);
}

/*
 * Those whose kernel side makes the connections itself, where no hook is asked for an address; and version 1
 * of cgroups, whose hierarchy is there before sb_set_mnt_opts and sb_kern_mount are asked (without any
 * option, when only they are, it would be one of all controllers, of which version 2 has some in use).
 */
static __always_inline bool acts_at_once(const char *type)
{
	union name name = read_name(type);

	return is(&name, (union name){ "9p" }) || is(&name, (union name){ "nfs" }) ||
	       is(&name, (union name){ "nfs4" }) || is(&name, (union name){ "cifs" }) ||
	       is(&name, (union name){ "smb3" }) || is(&name, (union name){ "ceph" }) ||
	       is(&name, (union name){ "afs" }) || is(&name, (union name){ "cgroup" });
}

SEC("lsm/sb_mount")
int BPF_PROG(moat_sb_mount, const char *dev_name, const struct path *path, const char *type,
	     unsigned long flags, void *data, int ret)
{
	if (ret)
		return ret;
	/* in this order the kernel looks at them (path_mount() in fs/namespace.c) */
	if (flags & MS_REMOUNT)
		return change_mount(MOAT_HOOK_sb_mount, path->mnt);
	if (flags & MS_BIND)
		return use_mount_point(MOAT_HOOK_sb_mount, path);
	if (flags & MS_PROPAGATION)
		return 0;
	/* what is moved has only been named so far */
	if ((flags & MS_MOVE) && user_subject() && in_mounts_of_init())
		return deny(MOAT_HOOK_sb_mount, EPERM, MOAT_OBJECT_MOUNT, 0);
	/* nfs takes all it needs in one block, and then no fs_context_parse_param is asked */
	if (acts_at_once(type) && user_subject())
		return deny(MOAT_HOOK_sb_mount, EPERM, MOAT_OBJECT_MOUNT, 0);
	return use_mount_point(MOAT_HOOK_sb_mount, path);
}

/* It changes the root of everybody who has the old one, moat-init included. */
SEC("lsm/sb_pivotroot")
int BPF_PROG(moat_sb_pivotroot, const struct path *old_path, const struct path *new_path, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (!in_mounts_of_init())
		return allow(MOAT_HOOK_sb_pivotroot);
	return deny(MOAT_HOOK_sb_pivotroot, EPERM, MOAT_OBJECT_MOUNT, 0);
}

/* For each option, and for what is to be mounted, before the connection is made. 0: the kernel goes on. */
SEC("lsm/fs_context_parse_param")
int BPF_PROG(moat_fs_context_parse_param, struct fs_context *fc, struct fs_parameter *param, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (!acts_at_once(fc->fs_type->name))
		return allow(MOAT_HOOK_fs_context_parse_param);
	return deny(MOAT_HOOK_fs_context_parse_param, EPERM, MOAT_OBJECT_MOUNT, 0);
}

SEC("lsm/move_mount")
int BPF_PROG(moat_move_mount, const struct path *from, const struct path *to, int ret)
{
	if (ret)
		return ret;
	ret = use_mount(MOAT_HOOK_move_mount, from->mnt->mnt_sb);
	if (!ret)
		ret = change_mount(MOAT_HOOK_move_mount, from->mnt);
	return ret ? ret : use_mount_point(MOAT_HOOK_move_mount, to);
}

SEC("lsm/sb_remount")
int BPF_PROG(moat_sb_remount, struct super_block *sb, void *options, int ret)
{
	enum door door;

	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	door = door_of(sb->s_magic);
	if (door == DOOR_NONE && superblock_is_own(sb))
		return allow(MOAT_HOOK_sb_remount);
	if (door == DOOR_PROC && proc_is_own(sb->s_fs_info))
		return allow(MOAT_HOOK_sb_remount);
	return deny(MOAT_HOOK_sb_remount, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}

/* Nobody in a mount namespace of moat-init's finds a bpffs there; this is for who found another. */
SEC("lsm/sb_umount")
int BPF_PROG(moat_sb_umount, struct vfsmount *mnt, int flags, int ret)
{
	const struct super_block *sb = mnt->mnt_sb;

	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (sb->s_magic != BPF_FS_MAGIC && !mount_must_stay(mnt) &&
	    (superblock_is_own(sb) || !((flags & MNT_FORCE) || is_own_root(mnt))))
		return allow(MOAT_HOOK_sb_umount);
	return deny(MOAT_HOOK_sb_umount, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}
