/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpf(2) against moat's own programs and maps. With a fresh target the case first makes what it
 * then attacks; under moat that making is already refused, which is then its answer.
 */
#include "attempt.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define COMMANDS_MAX 64 /* more than the enum bpf_cmd of any kernel has */

static int bpf_call(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int make_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1,
	};

	return bpf_call(BPF_MAP_CREATE, &attr);
}

/* "return 1", which lets every packet through. */
static int make_program(void)
{
	static const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
		.expected_attach_type = BPF_CGROUP_INET_EGRESS,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(code[0]),
		.license = (uintptr_t)"GPL",
	};

	return bpf_call(BPF_PROG_LOAD, &attr);
}

static int cgroup_root(void)
{
	int fd = open("/sys/fs/cgroup/unified", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : fd;
}

static int make_link(void)
{
	union bpf_attr attr = { 0 };

	attr.link_create.prog_fd = (uint32_t)make_program();
	attr.link_create.target_fd = (uint32_t)cgroup_root();
	attr.link_create.attach_type = BPF_CGROUP_INET_EGRESS;
	return bpf_call(BPF_LINK_CREATE, &attr);
}

/* Where the walk through the objects starts: after making one, when there need not be any. */
static int next_id(struct target *t, int cmd, int (*make)(void), uint32_t *ret_id)
{
	union bpf_attr attr = { 0 };

	if (t->fresh && make() < 0)
		return -errno;
	if (bpf_call(cmd, &attr) < 0)
		return -errno;
	if (ret_id)
		*ret_id = attr.next_id;
	return 0;
}

int attempt_bpf_prog_load(struct target *t)
{
	(void)t;
	return answer(make_program());
}

int attempt_bpf_map_create(struct target *t)
{
	(void)t;
	return answer(make_map());
}

/* Whether any command is let through as far as to be looked at, those that are yet to come included. */
int attempt_bpf_commands(struct target *t)
{
	(void)t;
	for (int cmd = 0; cmd < COMMANDS_MAX; cmd++) {
		union bpf_attr attr = { 0 };

		if (bpf_call(cmd, &attr) >= 0 || errno != EPERM)
			return 0;
	}
	return -EPERM;
}

int attempt_bpf_prog_ids(struct target *t)
{
	return next_id(t, BPF_PROG_GET_NEXT_ID, make_program, NULL);
}

int attempt_bpf_map_ids(struct target *t)
{
	return next_id(t, BPF_MAP_GET_NEXT_ID, make_map, NULL);
}

int attempt_bpf_link_ids(struct target *t)
{
	return next_id(t, BPF_LINK_GET_NEXT_ID, make_link, NULL);
}

int attempt_bpf_prog_fd(struct target *t)
{
	union bpf_attr attr = { 0 };
	int r = next_id(t, BPF_PROG_GET_NEXT_ID, make_program, &attr.prog_id);

	return r < 0 ? r : answer(bpf_call(BPF_PROG_GET_FD_BY_ID, &attr));
}

int attempt_bpf_map_update(struct target *t)
{
	union bpf_attr attr = { 0 };
	uint64_t key = 0, value[32] = { 0 };
	int fd, r = 0;

	/* Without moat one's own map, since the first by number may be anybody's. */
	fd = t->fresh ? make_map() : -1;
	if (!t->fresh) {
		r = next_id(t, BPF_MAP_GET_NEXT_ID, make_map, &attr.map_id);
		fd = r < 0 ? -1 : bpf_call(BPF_MAP_GET_FD_BY_ID, &attr);
	}
	if (fd < 0)
		return r < 0 ? r : -errno;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)value;
	return answered(fd, answer(bpf_call(BPF_MAP_UPDATE_ELEM, &attr)));
}

/* Pins a map of one's own in a bpffs that only this case sees. 0 or -errno. */
static int pin_own(struct target *t, const char *path)
{
	union bpf_attr attr = { 0 };
	int r = own_mounts(t), fd;

	if (r < 0)
		return r;
	if (mount("bpf", "/tmp", "bpf", 0, NULL) < 0)
		return -errno;
	fd = make_map();
	if (fd < 0)
		return -errno;
	attr.pathname = (uintptr_t)path;
	attr.bpf_fd = (uint32_t)fd;
	return answer(bpf_call(BPF_OBJ_PIN, &attr));
}

int attempt_bpf_obj_get(struct target *t)
{
	const char *path = t->fresh ? "/tmp/own" : t->pin;
	union bpf_attr attr = { .pathname = (uintptr_t)path };
	int r = t->fresh ? pin_own(t, path) : 0;

	return r < 0 ? r : answer(bpf_call(BPF_OBJ_GET, &attr));
}

int attempt_bpf_link_detach(struct target *t)
{
	union bpf_attr attr = { 0 };
	int fd, r;

	if (t->fresh) {
		fd = make_link();
		r = fd < 0 ? -errno : 0;
	} else {
		uint32_t id = 0;

		r = next_id(t, BPF_LINK_GET_NEXT_ID, make_link, &id);
		attr.link_id = id;
		fd = r < 0 ? -1 : bpf_call(BPF_LINK_GET_FD_BY_ID, &attr);
	}
	if (fd < 0)
		return r < 0 ? r : -errno;
	memset(&attr, 0, sizeof(attr));
	attr.link_detach.link_fd = (uint32_t)fd;
	return answered(fd, answer(bpf_call(BPF_LINK_DETACH, &attr)));
}

/*
 * The bpffs with the pins is in no mount namespace of user code, so each of these begins with one of
 * its own, in which a pin of its own stands for them.
 */
#define PIN "/tmp/own"

int attempt_pin_unlink(struct target *t)
{
	int r = pin_own(t, PIN);

	return r < 0 ? r : answer(unlink(PIN));
}

int attempt_pin_rename(struct target *t)
{
	int r = pin_own(t, PIN);

	return r < 0 ? r : answer(rename(PIN, PIN "-else"));
}

int attempt_pin_remount(struct target *t)
{
	int r = pin_own(t, PIN);

	return r < 0 ? r : answer(mount(NULL, "/tmp", NULL, MS_REMOUNT | MS_RDONLY, NULL));
}

int attempt_pin_umount(struct target *t)
{
	int r = pin_own(t, PIN);

	return r < 0 ? r : answer(umount2("/tmp", MNT_DETACH));
}
