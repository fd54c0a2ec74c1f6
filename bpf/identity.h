/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a mark knows an inode by. Device and number do not always tell two inodes apart:
 *
 *   ext4, xfs, f2fs, squashfs, erofs     number and generation: unique, and they last
 *   overlay, layers on one file system   the number is that of the real inode
 *   overlay with xino                    the number has the layer in it
 *   other overlays                       numbers of directories are handed out by a counter, those of
 *                                        files come from whatever layer: two may be the same
 *   btrfs                                subvolumes number their inodes alike, on one superblock
 *   FAT                                  numbers are handed out whenever an inode is read
 *   tmpfs                                numbers may wrap (inode32); its inodes never leave memory
 *   FUSE, NFS, all others                who knows
 *
 * Where they do not, the inode's address in memory is what it is known by: right as long as the inode is
 * there, and inode_free_security (protect.bpf.c) tells when it no longer is. What is decided for a
 * file system at its first mark stays. A bind mount is another way to the same inode.
 */
#ifndef MOAT_BPF_IDENTITY_H
#define MOAT_BPF_IDENTITY_H

#include "verdict.h"

/* A file system on which there are marks. */
struct place {
	__u32 device;
	__u32 flags; /* of the device's entry: MOAT_DEVICE_*, MOAT_PROTECT_HIDDEN; 0: there are none */
};

static __always_inline __u32 device_of(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_sb, s_dev);
}

static __always_inline struct place place_of_device(__u32 device)
{
	struct moat_inode_key key = { .device = device };
	struct moat_inode *m = bpf_map_lookup_elem(&protected, &key);

	return (struct place){ .device = device, .flags = m ? m->flags : 0 };
}

static __always_inline struct place place_of(struct inode *inode)
{
	return place_of_device(device_of(inode));
}

static __always_inline bool numbers_last(struct super_block *sb)
{
	struct ovl_fs *overlay;

	switch (BPF_CORE_READ(sb, s_magic)) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case SQUASHFS_MAGIC:
	case EROFS_SUPER_MAGIC:
		return true;
	case OVERLAYFS_SUPER_MAGIC:
		if (!bpf_core_field_exists(struct ovl_fs, xino_mode))
			return false;
		overlay = BPF_CORE_READ(sb, s_fs_info);
		return BPF_CORE_READ(overlay, xino_mode) >= 0;
	default:
		return false;
	}
}

static __always_inline bool is_by_address(struct place place)
{
	return place.flags & MOAT_DEVICE_BY_ADDRESS;
}

/* A pointer as a number: with a pointer that it knows the type of the verifier allows no arithmetic. */
static __always_inline __u64 address_of(const struct inode *inode)
{
	__u64 pointer = (__u64)inode, address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline __u64 identity_of(struct inode *inode, struct place place)
{
	return is_by_address(place) ? address_of(inode) : BPF_CORE_READ(inode, i_ino);
}

static __always_inline __u32 generation_of(struct inode *inode, struct place place)
{
	return is_by_address(place) ? (__u32)BPF_CORE_READ(inode, i_ino)
				    : BPF_CORE_READ(inode, i_generation);
}

/* The filter */

static __always_inline struct moat_filter *the_filter(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&filter, &zero);
}

static __always_inline __u32 filter_slot(__u64 identity)
{
	return identity * 0x9e3779b97f4a7c15ull >> (64 - MOAT_FILTER_BITS);
}

/* The word of a slot, or NULL, which does not happen: 6.1 is to see that it lies in the filter. */
static __always_inline __u64 *filter_word(struct moat_filter *f, enum moat_filter_kind kind, __u32 slot)
{
	__u64 word = kind * MOAT_FILTER_WORDS + slot / 64;

	barrier_var(word);
	return word < MOAT_FILTER_KINDS * MOAT_FILTER_WORDS ? &f->words[word] : NULL;
}

static __always_inline bool filter_has(struct moat_filter *f, enum moat_filter_kind kind, __u64 identity)
{
	__u32 slot = filter_slot(identity);
	const __u64 *word = filter_word(f, kind, slot);

	return !word || (*word & 1ull << (slot & 63));
}

static __always_inline void filter_add(enum moat_filter_kind kind, __u64 identity)
{
	struct moat_filter *f = the_filter();
	__u32 slot = filter_slot(identity);
	__u64 *word = f ? filter_word(f, kind, slot) : NULL;

	if (word)
		__sync_fetch_and_or(word, 1ull << (slot & 63));
}

#endif
