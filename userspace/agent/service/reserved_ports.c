/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/reserved_ports.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "agent/process/lock.h"
#include "base/log.h"

#define RANGE_FILE "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED_FILE "/proc/sys/net/ipv4/ip_local_reserved_ports"
#define PORTS 65536u
#define JOURNAL "reserved-ports"
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define LOCK_WAIT (500 * NSEC_PER_MSEC)
/* The longest list: every second port, five digits and a comma each. */
#define LIST_BYTES (PORTS / 2 * 6 + 2)

struct port_set {
	unsigned char bits[PORTS / 8];
};

static bool has(const struct port_set *set, unsigned port)
{
	return set->bits[port / 8] & (1u << port % 8);
}

static void add(struct port_set *set, unsigned port)
{
	set->bits[port / 8] |= (unsigned char)(1u << port % 8);
}

static void del(struct port_set *set, unsigned port)
{
	set->bits[port / 8] &= (unsigned char)~(1u << port % 8);
}

/* "80,443,1000-1005\n". False: not such a list. */
static bool parse(const char *text, struct port_set *ret_set)
{
	while (*text && *text != '\n') {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text)
			return false;
		if (*end == '-') {
			text = end + 1;
			last = strtoul(text, &end, 10);
			if (end == text)
				return false;
		}
		if (first > last || last >= PORTS)
			return false;
		for (unsigned long p = first; p <= last; p++)
			add(ret_set, (unsigned)p);
		text = *end == ',' ? end + 1 : end;
	}
	return true;
}

static void format(const struct port_set *set, char *text, size_t size)
{
	size_t n = 0;

	for (unsigned p = 0; p < PORTS && n < size; p++) {
		unsigned first = p;

		if (!has(set, p))
			continue;
		while (p + 1 < PORTS && has(set, p + 1))
			p++;
		n += (size_t)snprintf(text + n, size - n, first == p ? "%s%u" : "%s%u-%u",
				      n ? "," : "", first, p);
	}
	if (n < size)
		snprintf(text + n, size - n, "\n");
}

/* The sysctl gives its list with the first read(2) or not at all: one buffer for all of it. */
static int read_reserved(struct port_set *ret_set)
{
	FD_OWNED int fd = open(RESERVED_FILE, O_RDONLY | O_CLOEXEC);
	PTR_OWNED char *text = malloc(LIST_BYTES);
	struct port_set set = { 0 };
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = fd < 0 ? -1 : read(fd, text, LIST_BYTES - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (!parse(text, &set))
		return -EBADMSG;
	*ret_set = set;
	return 0;
}

static int write_reserved(const struct port_set *set)
{
	FD_OWNED int fd = open(RESERVED_FILE, O_WRONLY | O_CLOEXEC);
	PTR_OWNED char *text = malloc(LIST_BYTES);

	if (!text)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	format(set, text, LIST_BYTES);
	/* It takes at most a page at a time and adds what follows to what came before. */
	return write_all(fd, text, strlen(text));
}

static int read_range(unsigned *ret_low, unsigned *ret_high)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, RANGE_FILE, 64, &text, NULL);

	if (r < 0)
		return r;
	return sscanf(text, "%u %u", ret_low, ret_high) == 2 ? 0 : -EBADMSG;
}

/*
 * Agents read and write in turn. Whoever else holds the lock, user code for one, holds us up for half a
 * second at most, and then there is none.
 */
static int lock_list(void)
{
	FD_OWNED int fd = open(RESERVED_FILE, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) == 0 || lock_in_time(fd, LOCK_WAIT) == 0))
		return take_fd(&fd);
	log_warning("the lock on " RESERVED_FILE " is held by somebody else");
	return -EBADF;
}

/* --- The journal: which boot and network namespace, and which ports we have added --------------- */

static int write_place(char *text, size_t size)
{
	PTR_OWNED char *boot = NULL;
	struct stat ns;
	int r = read_file_at(AT_FDCWD, BOOT_ID_FILE, 64, &boot, NULL);

	if (r < 0)
		return r;
	if (stat("/proc/self/ns/net", &ns) < 0)
		return -errno;
	snprintf(text, size, "%.*s %llu\n", (int)strcspn(boot, "\n"), boot,
		 (unsigned long long)ns.st_ino);
	return 0;
}

static int write_journal(const struct reserved_ports *reserved)
{
	FD_OWNED int fd = open(reserved->journal, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			       0600);
	PTR_OWNED char *text = malloc(LIST_BYTES);
	struct port_set set = { 0 };
	char place[128];
	int r;

	if (!text)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	r = write_place(place, sizeof(place));
	if (r < 0)
		return r;
	for (size_t i = 0; i < reserved->n; i++)
		add(&set, reserved->ports[i]);
	format(&set, text, LIST_BYTES);
	r = write_all(fd, place, strlen(place));
	return r < 0 ? r : write_all(fd, text, strlen(text));
}

/* What an agent before this one added here and did not take back; empty where nothing tells. */
static void read_journal(const struct reserved_ports *reserved, struct port_set *ret_left)
{
	PTR_OWNED char *text = NULL;
	struct port_set left = { 0 };
	char place[128];
	size_t n;

	*ret_left = left;
	if (read_file_at(AT_FDCWD, reserved->journal, LIST_BYTES, &text, NULL) < 0 ||
	    write_place(place, sizeof(place)) < 0)
		return;
	n = strlen(place);
	if (strncmp(text, place, n) == 0 && parse(text + n, &left))
		*ret_left = left;
}

/* Adds port to the set, and to what is to be taken back unless others had reserved it. */
static int note(struct reserved_ports *reserved, struct port_set *set, uint16_t port)
{
	uint16_t *grown;

	if (has(set, port))
		return 0;
	grown = reallocarray(reserved->ports, reserved->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	reserved->ports = grown;
	reserved->ports[reserved->n++] = port;
	add(set, port);
	return 0;
}

static void forget(struct reserved_ports *reserved)
{
	free(reserved->ports);
	free(reserved->journal);
	*reserved = (struct reserved_ports){ 0 };
}

/* The ports of the configuration that lie in the range. *ret_first: one of them, 0: there is none. */
static int note_all(const struct config *config, unsigned low, unsigned high,
		    struct reserved_ports *reserved, struct port_set *set, unsigned *ret_first)
{
	int r = 0;

	*ret_first = 0;
	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *s = &config->services[i];

		for (size_t j = 0; j < s->n_ports; j++) {
			uint16_t port = s->ports[j].port;

			if (port < low || port > high)
				continue;
			*ret_first = *ret_first ? *ret_first : port;
			if (r == 0)
				r = note(reserved, set, port);
		}
	}
	return r;
}

/* The list as it would be without the agent that died; *ret_changed says whether there was one. 0 or -errno. */
static int read_without(const struct port_set *left, struct port_set *ret_set, bool *ret_changed)
{
	int r = read_reserved(ret_set);

	*ret_changed = false;
	for (unsigned p = 0; p < PORTS && r == 0; p++)
		if (has(left, p) && has(ret_set, p)) {
			del(ret_set, p);
			*ret_changed = true;
		}
	return r;
}

int reserved_ports_add(const struct config *config, struct reserved_ports *reserved,
		       struct failure *f)
{
	FD_OWNED int lock = -EBADF;
	unsigned low = 0, high = 0, first;
	struct port_set set = { 0 }, left;
	int r = read_range(&low, &high), noted;

	if (r < 0)
		return fail(f, -r, "cannot read " RANGE_FILE);
	if (asprintf(&reserved->journal, "%s/" JOURNAL, config->state_dir) < 0) {
		reserved->journal = NULL;
		return fail(f, ENOMEM, "ports");
	}
	lock = lock_list();
	read_journal(reserved, &left);
	r = read_without(&left, &set, &reserved->adopted);
	noted = note_all(config, low, high, reserved, &set, &first);
	r = r < 0 ? r : noted;
	if (r == 0 && reserved->n > 0)
		r = write_journal(reserved);
	if (r == 0 && (reserved->n > 0 || reserved->adopted))
		r = write_reserved(&set);
	if (reserved->n == 0)
		(void)unlink(reserved->journal);
	if (r == 0 || first == 0)
		return 0;
	forget(reserved);
	return fail(f, -r,
		    "port %u lies in the ephemeral range %u-%u and cannot be added "
		    "to " RESERVED_FILE, first, low, high);
}

void reserved_ports_remove(struct reserved_ports *reserved)
{
	FD_OWNED int lock = -EBADF;
	struct port_set set;
	int r;

	if (reserved->n > 0) {
		lock = lock_list();
		r = read_reserved(&set);
		if (r == 0) {
			for (size_t i = 0; i < reserved->n; i++)
				del(&set, reserved->ports[i]);
			r = write_reserved(&set);
		}
		if (r < 0)
			log_warning("cannot restore " RESERVED_FILE ": %s", strerror(-r));
		else
			(void)unlink(reserved->journal);
	}
	forget(reserved);
}
