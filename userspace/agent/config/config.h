/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/moat/moat.conf and the command line, as plain data. Everything is checked here: after
 * config_load() succeeded no later module finds a value out of range.
 */
#ifndef MOAT_CONFIG_H
#define MOAT_CONFIG_H

#include "base/base.h"
#include "moat/abi.h"

#define CONFIG_SERVICES_MAX 64u
#define CONFIG_CONTEXTS_MAX 16384u
#define CONFIG_DEFAULT_CONTEXT "default" /* always there */
#define CONFIG_SESSION_PREFIX "session-" /* no other context's name begins so */
#define CONFIG_PORTS_MAX 64u /* per service */
#define CONFIG_PROTECT_MAX 64u /* per service */
#define CONFIG_SHARES_MAX 8u /* per service */
#define CONFIG_SESSION_IDLE 86400u /* seconds */
#define CONFIG_START_TIMEOUT 60u /* seconds */
#define CONFIG_DEVICES_MAX 64u
#define CONFIG_PIN_DIR "/sys/fs/bpf/moat" /* unless the file says otherwise */
#define CONFIG_HIDE_MAX 256u /* of moat and all services together */
#define CONFIG_SHOW_MAX 16u  /* per context */
#define CONFIG_LINKS_MAX 16u /* the same */
#define CONFIG_SOCKETS_MAX 256u /* names of unix sockets, of a service or of [moat] */
#define CONFIG_ENV_MAX 1024u /* variables of a context */
#define CONFIG_ENV_BYTES_MAX (64u * 1024) /* of them with their values */
#define CONFIG_FILE_MAX (1024u * 1024)

enum enforce_mode {
	ENFORCE_REQUIRE,     /* the default: refuse to start without BPF LSM */
	ENFORCE_BEST_EFFORT, /* go on with namespaces and capabilities, with a warning */
	ENFORCE_AUDIT,       /* BPF LSM must load, but only records */
};

/* Whether the agent binds the ports of a service and hands them over (service/held.h). */
enum listen_mode {
	LISTEN_WHERE_UNGUARDED, /* the default: where nothing in the kernel keeps them for it */
	LISTEN_YES,
	LISTEN_NO,
};

enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NO };
enum context_namespace { CONTEXT_USER, CONTEXT_SECURE, CONTEXT_PRIVATE };

/* What can be limited, by the cgroup controller that does it. */
enum config_limit {
	LIMIT_MEMORY, /* bytes */
	LIMIT_PIDS,   /* processes and threads */
	LIMIT_CPU,    /* thousandths of a CPU */
	LIMIT_COUNT,
};
/* "memory", "pids", "cpu": as the controller is called. */
const char *config_limit_name(enum config_limit limit);
#define CONFIG_NO_LIMIT UINT64_MAX /* "infinity"; 0: the file does not say */

struct config_port {
	uint16_t port; /* 1..65535 */
	bool udp;      /* what the service uses it for; the guard covers every transport */
	unsigned line;
};

/* A character device: by its numbers, or by its path, for the numbers that it will have at the start. */
struct config_device {
	char *path; /* NULL: numbers */
	uint32_t major, minor; /* minor: MOAT_MINOR_ANY for all */
};

struct config_service {
	char *name; /* [a-z0-9][a-z0-9-]{0,31} */
	char **argv;
	struct config_port *ports;
	size_t n_ports;
	bool reachable; /* all of ports */
	struct config_port *open; /* the only ones that are, listed in ports or not */
	size_t n_open;
	char **open_sockets; /* unix sockets: PATH or @NAME; NULL: none, or NULL-terminated */
	enum listen_mode listen;
	char *listen_address; /* a number; NULL: all of the machine's */
	uint16_t ready_port; /* ready = tcp:PORT; 0: ready as soon as it runs */
	enum restart_policy restart;
	char **env;      /* KEY=VALUE; on top of the agent's own environment */
	char *directory; /* NULL: one of its own, see service/place.h */
	bool core;       /* may leave core files, as far as the container lets it */
	char **protect;  /* paths that user code may not change; NULL: none, or NULL-terminated */
	char **shares;   /* where directory and HOME may be user code's, too; like protect */
	bool follow;     /* links that anybody may have made */
	uint64_t start_timeout_s; /* 0: none */
	unsigned directory_line, home_line, ready_line, shares_line, listen_line;
	unsigned line;
};

struct config_context {
	char *name;
	enum context_namespace ns;
	bool shared_pid;
	uint64_t capabilities; /* mask; the container-default set unless set */
	bool no_new_privs;     /* default true */
	char **env;
	char **show;     /* hidden paths that it sees; NULL: none, or NULL-terminated */
	char *directory; /* NULL: by the namespace, see context.h */
	char *home;      /* NULL: the same */
	char *workspace; /* where its work is done, and the root of its files; NULL: none */
	unsigned presets; /* bits of config_presets[]; 0: none is named */
	char **links;    /* "NAME -> TARGET" or "NAME -> TARGET rw", see link.h; NULL: none, or NULL-terminated */
	bool own_tmp;    /* each secure exec has a /tmp of its own */
	bool no_seccomp; /* no filter of system calls, where the kernel programs do not take its place */
	bool falls_back; /* command strings beyond the language are for a shell */
	bool careless;   /* secure execs do without the careful environment of context.c */
	uint64_t limits[LIMIT_COUNT]; /* of all its commands together; none by default */
	unsigned line;
};

struct config {
	char *file; /* NULL with the --port … -- command form */
	char *instance;   /* [a-z0-9][a-z0-9-]{0,31}, "default" */
	char *socket;     /* /run/moat/moat.sock */
	char *state_dir;  /* directory of the socket, never visible to user code */
	char *pin_dir;    /* /sys/fs/bpf/moat; pins go to pin_dir/instance */
	char *cgroup_dir; /* NULL: a child of the agent's own cgroup */
	char *audit_log;  /* NULL: none */
	char **hide;      /* of moat and all services; NULL: none, or NULL-terminated. See config_hidden() */
	enum enforce_mode enforce;
	/* Bits of what enforce = require names; then enforce is best-effort. See layers/requirements.h. */
	uint32_t required;
	bool keep_pins;
	bool dev; /* for an ordinary user: without root and cgroups, see config_make_dev() */
	uint64_t namespace_idle; /* seconds, after which a context's own namespace is ended */
	uint64_t session_idle;   /* the same of a session's context, which is removed; 0: never */
	bool free_resolver; /* user code may change what config_path_set("@resolver") names */
	uint64_t user_limits[LIMIT_COUNT]; /* of all contexts together; 0: see cgroup/limit.c */
	uint64_t memory_reserve; /* bytes for the control plane; 0: by the size of the machine,
				  * CONFIG_NO_LIMIT: none */
	uint64_t shm_size; /* of /dev/shm of a namespace, default 64 MiB */
	char **reach; /* unix sockets of the machine that user code may reach: PATH or @NAME; NULL-terminated */
	struct config_device devices[CONFIG_DEVICES_MAX]; /* that user code may open besides the usual */
	size_t n_devices;
	struct config_service *services;
	size_t n_services;
	struct config_context *contexts; /* always has "default", first */
	size_t n_contexts;
};

/*
 * Reads and checks a configuration file. On failure f->msg is "FILE:LINE: reason", with "; line LINE: reason"
 * for each further line as far as there is room; nothing is returned, and the return value is -EINVAL, or -errno where
 * the file cannot be read. Caller frees with config_free().
 */
int config_load(const char *file, struct config **ret_config, struct failure *f);

/* Logs each path of it that is not there, or not what it should be. Returns how many. */
size_t config_count_missing(const struct config *config);

/* The configuration of `moatd --port P… -- command…`: one service, "main", ready on its first TCP
 * port, restarted when it fails. ports: strings as in the file ("8080", "5353/udp"). directory: as in
 * the file, or NULL. */
int config_from_command(char *const *ports, const char *directory, char *const *argv,
			struct config **ret_config, struct failure *f);

/*
 * For an ordinary user: best-effort, and contexts that have no capabilities, are in his PID namespace, and
 * have his HOME, PATH and USER unless they name others. 0 or -ENOMEM.
 */
int config_make_dev(struct config *config);
/* The state directory then: $XDG_RUNTIME_DIR/moat, or /tmp/moat-UID. The caller frees it. 0 or -ENOMEM. */
int config_dev_state_dir(char **ret);
/* What state_dir is where no configuration says so, for what is loaded from then on; borrowed. */
void config_set_state_dir(const char *path);

void config_free(struct config *config);
static inline void config_freep(struct config **c) { config_free(*c); }

/* What stands in `protect` for several paths, some of which need not be there: "@resolver", "@system".
 * NULL-terminated, static; NULL: there is no such set. */
const char *const *config_path_set(const char *name);

/* What is to be hidden from user code besides moat's own files: `hide`, and what always is (/run/secrets) where
 * it exists. Caller frees with strv_free(). 0 or -ENOMEM. */
int config_hidden(const struct config *config, char ***ret_paths);
/* Whether a hidden path, or something beneath it, is among what is shown, which may be NULL. */
bool config_is_shown(char *const *show, const char *hidden);

#define CONFIG_REQUIREMENTS 10u
/* "A1 A3": the bits of these. NULL, or why it is refused (static). */
const char *config_requirements(const char *text, uint32_t *ret_required);

/* "require", "best-effort", "audit". NULL, or why the name is refused (static). */
const char *config_enforce_from_name(const char *name, enum enforce_mode *ret_mode);
const char *config_enforce_name(enum enforce_mode mode);

/*
 * Where the service executes what it finds, by its configuration: directory and the HOME of its env. Those
 * that user code must not be able to write go to ret_guarded, those that it shares to ret_shared; both
 * end with NULL, and are borrowed.
 */
struct config_places {
	const char *guarded[3], *shared[3];
};
void config_service_places(const struct config_service *service, struct config_places *ret);
/* The service that executes what lies where the context's directory or HOME is; NULL: none does. */
const struct config_service *config_guarding(const struct config *config,
					     const struct config_context *context);

/* Whether the name of a variable looks like that of a secret. For warnings: it is a guess. */
bool config_is_secret_name(const char *name);

/* NULL when there is none. Borrowed. */
const struct config_context *config_find_context(const struct config *config, const char *name);

#endif
