/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The techniques, once. X(name, group, seen, unseen, own, flags, text)
 *
 *  seen    the answer from user code of moat when the target can be named: it shares the PID
 *          namespace with it, or the target needs no pid
 *  unseen  the answer from user code in a PID namespace of its own
 *  own     the answer from user code of moat when the target is its own process, port or socket
 *
 * Each is a positive errno or 0 for success. Without moat every case succeeds, or is marked.
 *
 *  NEVER       even without moat the kernel refuses this (own names the answer)
 *  ORACLE      allowed by design: it changes nothing; what it tells is documented
 *  CONTROL     legitimate use that moat must leave alone: always 0
 *  OUTSIDE     the answer alone does not tell; the caller looks whether the target still lives
 */
#ifndef MOAT_ATTEMPT_CASES_H
#define MOAT_ATTEMPT_CASES_H

enum case_flags { NEVER = 1, ORACLE = 2, CONTROL = 4, OUTSIDE = 8 };

#define SIGNAL_CASES(X)                                                                            \
	X(kill_0, "signals", EPERM, ESRCH, 0, 0, "kill(pid, 0)")                                   \
	X(kill_term, "signals", EPERM, ESRCH, 0, 0, "kill(pid, SIGTERM)")                          \
	X(kill_kill, "signals", EPERM, ESRCH, 0, 0, "kill(pid, SIGKILL)")                          \
	X(kill_stop, "signals", EPERM, ESRCH, 0, 0, "kill(pid, SIGSTOP)")                          \
	X(kill_group, "signals", EPERM, ESRCH, 0, 0, "kill(-pgid, SIGTERM)")                       \
	X(kill_all, "signals", 0, 0, 0, OUTSIDE, "kill(-1, SIGKILL) hits only the user's own")     \
	X(tgkill, "signals", EPERM, ESRCH, 0, 0, "tgkill(pid, tid, SIGTERM)")                      \
	X(tkill, "signals", EPERM, ESRCH, 0, 0, "tkill(tid, SIGTERM)")                             \
	X(sigqueue, "signals", EPERM, ESRCH, 0, 0, "rt_sigqueueinfo(pid, SIGTERM)")                \
	X(tgsigqueue, "signals", EPERM, ESRCH, 0, 0, "rt_tgsigqueueinfo(pid, tid, SIGTERM)")       \
	X(pidfd_signal, "signals", EPERM, ESRCH, 0, 0, "pidfd_open, pidfd_send_signal(SIGKILL)")   \
	X(pidfd_signal_group, "signals", EPERM, ESRCH, 0, 0, "pidfd_send_signal to the group")     \
	X(sigio, "signals", EPERM, ESRCH, 0, 0, "F_SETOWN, F_SETSIG(SIGKILL) on a pipe")           \
	X(sigio_group, "signals", EPERM, ESRCH, 0, 0, "F_SETOWN_EX with a process group")          \
	X(sigio_ioctl, "signals", EPERM, ESRCH, 0, 0, "FIOSETOWN, F_SETSIG(SIGKILL) on a socket")  \
	X(kill_from_thread, "signals", EPERM, ESRCH, 0, 0, "kill from a second thread")            \
	X(kill_from_exec, "signals", EPERM, ESRCH, 0, 0, "kill after execve of another image")     \
	X(kill_from_orphan, "signals", EPERM, ESRCH, 0, 0, "kill after a double fork")             \
	X(kill_from_vfork, "signals", EPERM, ESRCH, 0, 0, "kill between vfork and exec")           \
	X(kill_from_userns, "signals", EPERM, ESRCH, 0, 0, "kill from a new user namespace")

#define CONTROL_CASES(X)                                                                           \
	X(ptrace_attach, "control", EPERM, ESRCH, 0, 0, "ptrace(PTRACE_ATTACH)")                   \
	X(ptrace_seize, "control", EPERM, ESRCH, 0, 0, "ptrace(PTRACE_SEIZE)")                     \
	X(ptrace_traceme, "control", EPERM, EPERM, EPERM, 0, "PTRACE_TRACEME under moat-init")     \
	X(ptrace_traceme_own, "control", 0, 0, 0, CONTROL, "PTRACE_TRACEME under an own parent")   \
	X(vm_readv, "control", EPERM, ESRCH, 0, 0, "process_vm_readv")                             \
	X(vm_writev, "control", EPERM, ESRCH, 0, 0, "process_vm_writev")                           \
	X(vm_madvise, "control", EACCES, ESRCH, 0, 0, "process_madvise(MADV_COLD)")                \
	X(pidfd_getfd, "control", EPERM, ESRCH, 0, 0, "pidfd_getfd(0)")                            \
	X(pidfd_namespace, "control", EACCES, ESRCH, 0, 0, "ioctl(PIDFD_GET_MNT_NAMESPACE)")       \
	X(perf_event, "control", EPERM, ESRCH, 0, 0, "perf_event_open on the pid")                 \
	X(perf_event_cpu, "control", EPERM, EPERM, EPERM, 0, "perf_event_open on a whole CPU")     \
	X(kcmp, "control", EPERM, ESRCH, 0, 0, "kcmp(KCMP_VM)")                                    \
	X(robust_list, "control", EPERM, ESRCH, 0, 0, "get_robust_list")                           \
	X(prlimit_set, "control", EPERM, ESRCH, 0, 0, "prlimit, setting RLIMIT_NOFILE")            \
	X(prlimit_get, "control", EPERM, ESRCH, 0, 0, "prlimit, reading RLIMIT_NOFILE")            \
	X(sched_setscheduler, "control", EPERM, ESRCH, 0, 0, "sched_setscheduler(SCHED_IDLE)")     \
	X(sched_setparam, "control", EPERM, ESRCH, 0, 0, "sched_setparam")                         \
	X(sched_setattr, "control", EPERM, ESRCH, 0, 0, "sched_setattr(SCHED_BATCH)")              \
	X(sched_setaffinity, "control", EPERM, ESRCH, 0, 0, "sched_setaffinity(cpu 0)")            \
	X(sched_getscheduler, "control", EPERM, ESRCH, 0, 0, "sched_getscheduler")                 \
	X(sched_getattr, "control", EPERM, ESRCH, 0, 0, "sched_getattr")                           \
	X(sched_getaffinity, "control", EPERM, ESRCH, 0, 0, "sched_getaffinity")                   \
	X(setpriority, "control", EPERM, ESRCH, 0, 0, "setpriority(PRIO_PROCESS, 10)")             \
	X(setpriority_group, "control", EPERM, ESRCH, 0, 0, "setpriority(PRIO_PGRP, 10)")          \
	X(getpriority, "control", 0, ESRCH, 0, ORACLE, "getpriority(PRIO_PROCESS)")                \
	X(ioprio_set, "control", EPERM, ESRCH, 0, 0, "ioprio_set(BE, 7)")                          \
	X(ioprio_get, "control", EPERM, ESRCH, 0, 0, "ioprio_get")                                 \
	X(getpgid, "control", EPERM, ESRCH, 0, 0, "getpgid")                                       \
	X(getsid, "control", EPERM, ESRCH, 0, 0, "getsid")                                         \
	X(setpgid, "control", ESRCH, ESRCH, ESRCH, NEVER, "setpgid of a stranger")                 \
	X(setpgid_own, "control", 0, 0, 0, CONTROL, "setpgid of an own child")                     \
	X(move_pages, "control", EPERM, ESRCH, 0, 0, "move_pages")                                 \
	X(migrate_pages, "control", EPERM, ESRCH, 0, 0, "migrate_pages")                           \
	X(setns_pidfd, "control", EPERM, ESRCH, 0, 0, "setns(pidfd, CLONE_NEWNS)")                 \
	X(setns_proc, "control", ENOENT, ENOENT, 0, 0, "setns(/proc/PID/ns/mnt)")                  \
	X(capget, "control", EPERM, ESRCH, 0, 0, "capget")                                         \
	X(credentials_pid, "control", EPERM, EPERM, EPERM, 0, "SCM_CREDENTIALS with the pid, sendmsg") \
	X(credentials_pid_many, "control", EPERM, EPERM, EPERM, 0, "the same by sendmmsg")         \
	X(credentials_pid_uring, "control", EPERM, EPERM, EPERM, 0, "the same by io_uring")        \
	X(credentials_uid, "control", EPERM, EPERM, EPERM, 0, "SCM_CREDENTIALS with another uid")  \
	X(credentials_gid, "control", EPERM, EPERM, EPERM, 0, "SCM_CREDENTIALS with another gid")  \
	X(credentials_own, "control", 0, 0, 0, CONTROL, "SCM_CREDENTIALS with one's own")          \
	X(pidfd_open, "control", 0, ESRCH, 0, ORACLE, "pidfd_open")

#define PROC_CASES(X)                                                                              \
	X(proc_readdir, "proc", ENOENT, ENOENT, 0, 0, "readdir(/proc) shows the pid")              \
	X(proc_stat, "proc", ENOENT, ENOENT, 0, 0, "stat(/proc/PID)")                              \
	X(proc_open, "proc", ENOENT, ENOENT, 0, 0, "open(/proc/PID, O_PATH)")                      \
	X(proc_chdir, "proc", ENOENT, ENOENT, 0, 0, "chdir(/proc/PID)")                            \
	X(proc_dotdot, "proc", ENOENT, ENOENT, 0, 0, "stat(/proc/self/../PID)")                    \
	X(proc_thread, "proc", ENOENT, ENOENT, 0, 0, "stat(/proc/TID)")                            \
	X(proc_environ, "proc", ENOENT, ENOENT, 0, 0, "read /proc/PID/environ")                    \
	X(proc_cmdline, "proc", ENOENT, ENOENT, 0, 0, "read /proc/PID/cmdline")                    \
	X(proc_status, "proc", ENOENT, ENOENT, 0, 0, "read /proc/PID/status")                      \
	X(proc_maps, "proc", ENOENT, ENOENT, 0, 0, "read /proc/PID/maps")                          \
	X(proc_mem, "proc", ENOENT, ENOENT, 0, 0, "open(/proc/PID/mem, O_RDWR)")                   \
	X(proc_oom, "proc", ENOENT, ENOENT, 0, 0, "write /proc/PID/oom_score_adj")                 \
	X(proc_root, "proc", ENOENT, ENOENT, 0, 0, "open(/proc/PID/root)")                         \
	X(proc_cwd, "proc", ENOENT, ENOENT, 0, 0, "open(/proc/PID/cwd)")                           \
	X(proc_exe, "proc", ENOENT, ENOENT, 0, 0, "readlink(/proc/PID/exe)")                       \
	X(proc_fd, "proc", ENOENT, ENOENT, 0, 0, "readdir(/proc/PID/fd)")                          \
	X(proc_fd_open, "proc", ENOENT, ENOENT, 0, 0, "open(/proc/PID/fd/0)")                      \
	X(proc_task, "proc", ENOENT, ENOENT, 0, 0, "readdir(/proc/PID/task)")                      \
	X(proc_ns, "proc", ENOENT, ENOENT, 0, 0, "readlink(/proc/PID/ns/pid)")                     \
	X(proc_self, "proc", 0, 0, 0, CONTROL, "read /proc/self/environ and /proc/self/task")

#define MOUNT_CASES(X)                                                                             \
	X(mount_proc, "mounts", EPERM, ENOENT, EPERM, 0, "mount(proc) and look there")             \
	X(mount_proc_hiding, "mounts", ENOENT, ENOENT, 0, 0, "mount(proc, hidepid=ptraceable)")    \
	X(fsmount_proc, "mounts", EPERM, ENOENT, EPERM, 0, "openat on an unattached fsmount(proc)") \
	X(move_mount_proc, "mounts", EPERM, ENOENT, EPERM, 0, "fsmount(proc), move_mount")         \
	X(remount_proc, "mounts", EPERM, EPERM, EPERM, 0, "remount /proc with hidepid=0")          \
	X(fspick_proc, "mounts", EPERM, EPERM, EPERM, 0, "fspick(/proc), reconfigure hidepid=0")   \
	X(bind_init_proc, "mounts", ENOENT, EACCES, ENOENT, 0, "mount --bind /proc/1/root/proc")   \
	X(clone_init_proc, "mounts", ENOENT, EACCES, ENOENT, 0, "open_tree of /proc/1/root/proc")  \
	X(uncover_proc, "mounts", ENOENT, ENOENT, 0, 0, "umount /proc and look beneath")           \
	X(pivot_root, "mounts", EPERM, EPERM, EPERM, 0, "pivot_root under the commands to come")   \
	X(pivot_root_own, "mounts", 0, 0, 0, CONTROL, "pivot_root in an own mount namespace")      \
	X(mount_network, "mounts", EPERM, EPERM, EPERM, 0, "mount 9p, which connects to a port")   \
	X(fsopen_network, "mounts", EPERM, EPERM, EPERM, 0, "fsopen 9p, name a machine")           \
	X(mount_proc_own, "mounts", 0, 0, 0, CONTROL, "mount proc in an own PID namespace")        \
	X(mount_tmpfs, "mounts", 0, 0, 0, CONTROL, "mount a tmpfs of one's own")                   \
	X(remount_tmpfs, "mounts", 0, 0, 0, CONTROL, "remount a tmpfs of one's own")               \
	X(fsmount_tmpfs, "mounts", 0, 0, 0, CONTROL, "fsmount and move_mount a tmpfs")             \
	X(move_proc_own, "mounts", 0, 0, 0, CONTROL, "open_tree and move_mount of one's own /proc") \
	X(bind_own, "mounts", 0, 0, 0, CONTROL, "mount --bind /proc/self/root/tmp")

#define PORT_CASES(X)                                                                              \
	X(bind_tcp4, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP 0.0.0.0")                    \
	X(bind_tcp4_loopback, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP 127.0.0.1")         \
	X(bind_tcp4_specific, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP 127.0.0.2")         \
	X(bind_tcp4_foreign, "ports", EPERM, EPERM, EPERM, 0, "bind TCP, IP_FREEBIND")             \
	X(bind_tcp4_unspec, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP, family AF_UNSPEC")   \
	X(bind_tcp6, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP ::")                         \
	X(bind_tcp6_loopback, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP ::1")               \
	X(bind_tcp6_only, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP ::, IPV6_V6ONLY")       \
	X(bind_tcp6_mapped, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP ::ffff:127.0.0.1")    \
	X(bind_tcp6_mapped_any, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP ::ffff:0.0.0.0")  \
	X(bind_udp4, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind UDP 0.0.0.0")                    \
	X(bind_udp6, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind UDP ::")                         \
	X(bind_udp6_mapped, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind UDP ::ffff:127.0.0.1")    \
	X(bind_udplite, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind UDP-Lite 0.0.0.0")            \
	X(bind_reuseaddr, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP, SO_REUSEADDR")         \
	X(bind_reuseport, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind TCP, SO_REUSEPORT")         \
	X(bind_reuseport_udp, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind UDP, SO_REUSEPORT")     \
	X(bind_mptcp, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind MPTCP 0.0.0.0")                 \
	X(bind_mptcp6, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind MPTCP ::")                     \
	X(bind_sctp, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind SCTP 0.0.0.0")                   \
	X(bind_sctp_bindx, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "sctp_bindx 127.0.0.1")          \
	X(bind_io_uring, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "bind by io_uring")                \
	X(listen_autobind, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "listen, the range narrowed")    \
	X(connect_autobind_udp, "ports", EAGAIN, EAGAIN, 0, 0, "UDP connect, the range narrowed")  \
	X(bind_any_port, "ports", 0, 0, 0, CONTROL, "bind and listen on port 0")                   \
	X(bind_own_netns, "ports", 0, 0, 0, CONTROL, "bind TCP in an own network namespace")

#define REACH_CASES(X)                                                                             \
	X(connect_path, "reach", ENOENT, ENOENT, 0, 0, "connect to the socket by path")            \
	X(connect_uncovered, "reach", EPERM, EPERM, 0, 0, "umount what hides it, connect")         \
	X(connect_link, "reach", EPERM, EPERM, 0, 0, "connect by another hard link")               \
	X(connect_proc_root, "reach", ENOENT, ENOENT, 0, 0, "connect by /proc/PID/root")           \
	X(connect_init_root, "reach", ENOENT, EACCES, ENOENT, 0, "connect by /proc/1/root")        \
	X(connect_abstract, "reach", EPERM, EPERM, 0, 0, "connect to an abstract unix socket")     \
	X(connect_abstract_datagram, "reach", EPERM, EPERM, 0, 0, "the same of a datagram socket") \
	X(connect_own, "reach", 0, 0, 0, CONTROL, "connect to an own unix socket")                 \
	X(send_own, "reach", 0, 0, 0, CONTROL, "send to an own unix datagram socket")

#define BPF_CASES(X)                                                                               \
	X(bpf_prog_load, "bpf", EPERM, EPERM, EPERM, 0, "BPF_PROG_LOAD")                           \
	X(bpf_map_create, "bpf", EPERM, EPERM, EPERM, 0, "BPF_MAP_CREATE")                         \
	X(bpf_commands, "bpf", EPERM, EPERM, EPERM, 0, "any command of bpf(2)")                    \
	X(bpf_prog_ids, "bpf", EPERM, EPERM, EPERM, 0, "BPF_PROG_GET_NEXT_ID")                     \
	X(bpf_map_ids, "bpf", EPERM, EPERM, EPERM, 0, "BPF_MAP_GET_NEXT_ID")                       \
	X(bpf_link_ids, "bpf", EPERM, EPERM, EPERM, 0, "BPF_LINK_GET_NEXT_ID")                     \
	X(bpf_prog_fd, "bpf", EPERM, EPERM, EPERM, 0, "BPF_PROG_GET_FD_BY_ID")                     \
	X(bpf_map_update, "bpf", EPERM, EPERM, EPERM, 0, "BPF_MAP_UPDATE_ELEM by id")              \
	X(bpf_obj_get, "bpf", EPERM, EPERM, EPERM, 0, "BPF_OBJ_GET of a pin")                      \
	X(pin_unlink, "bpf", EPERM, EPERM, EPERM, 0, "unlink a pin")                               \
	X(pin_rename, "bpf", EPERM, EPERM, EPERM, 0, "rename a pin")                               \
	X(pin_remount, "bpf", EPERM, EPERM, EPERM, 0, "remount the bpffs")                         \
	X(pin_umount, "bpf", EPERM, EPERM, EPERM, 0, "umount -l the bpffs")                        \
	X(bpf_link_detach, "bpf", EPERM, EPERM, EPERM, 0, "BPF_LINK_DETACH")

#define SERVICE_CASES(X)                                                                           \
	X(reach_tcp4, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP 127.0.0.1")        \
	X(reach_tcp4_other_loopback, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP 127.3.2.1") \
	X(reach_tcp4_any, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP 0.0.0.0")      \
	X(reach_tcp4_own_address, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP to an own address") \
	X(reach_tcp6_mapped, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP ::ffff:127.0.0.1") \
	X(reach_tcp6_loopback, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP ::1")     \
	X(reach_tcp6_any, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect TCP ::")           \
	X(reach_mptcp, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect MPTCP 127.0.0.1")     \
	X(reach_mptcp6, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect MPTCP ::1")          \
	X(reach_sctp, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect SCTP 127.0.0.1")       \
	X(reach_sctp_connectx, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sctp_connectx 127.0.0.1") \
	X(reach_udp_connect, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect UDP 127.0.0.1") \
	X(reach_udp6_connect, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect UDP ::1")      \
	X(reach_udp_sendto, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto UDP 127.0.0.1")   \
	X(reach_udp_sendto_unspec, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto UDP, family AF_UNSPEC") \
	X(reach_udp6_sendto, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto UDP ::1")        \
	X(reach_udp6_sendto_mapped, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto UDP ::ffff:127.0.0.1") \
	X(reach_udp6_sendto_v4, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto UDP 127.0.0.1 by an IPv6 socket") \
	X(reach_fastopen, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto TCP, MSG_FASTOPEN") \
	X(reach_fastopen6, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendto TCP ::1, MSG_FASTOPEN") \
	X(reach_io_uring_connect, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect by io_uring") \
	X(reach_io_uring_worker, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "connect by an io_uring worker") \
	X(reach_io_uring_sendmsg, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "sendmsg UDP by io_uring") \
	X(reach_packet, "service", EPERM, EPERM, EPERM, 0, "a packet socket")                      \
	X(reach_raw, "service", EPERM, EPERM, EPERM, 0, "a raw TCP socket")                        \
	X(reach_smc, "service", EPERM, EPERM, EPERM, 0, "an SMC socket")                           \
	X(header_included, "service", EPERM, EPERM, EPERM, 0, "IP_HDRINCL on a raw ICMP socket")   \
	X(header_included6, "service", EPERM, EPERM, EPERM, 0, "IPV6_HDRINCL on a raw ICMPv6 socket") \
	X(transparent6, "service", EPERM, EPERM, EPERM, 0, "IPV6_TRANSPARENT on a raw ICMPv6 socket") \
	X(transparent_udp, "service", EPERM, EPERM, EPERM, 0, "IP_TRANSPARENT on UDP")             \
	X(transparent_tcp, "service", EPERM, EPERM, EPERM, 0, "IP_TRANSPARENT on TCP")             \
	X(transparent_udp6, "service", EPERM, EPERM, EPERM, 0, "IPV6_TRANSPARENT on UDP")          \
	X(freebind, "service", EPERM, EPERM, EPERM, 0, "IP_FREEBIND on UDP")                       \
	X(freebind6, "service", EPERM, EPERM, EPERM, 0, "IPV6_FREEBIND on TCP")                    \
	X(original_destination, "service", EPERM, EPERM, EPERM, 0, "IP_RECVORIGDSTADDR on TCP")    \
	X(packet_mark, "service", EPERM, EPERM, EPERM, 0, "SO_MARK")                               \
	X(mark_message, "service", EPERM, EPERM, EPERM, 0, "SO_MARK in sendmsg")                   \
	X(mark_second_message, "service", EPERM, EPERM, EPERM, 0, "SO_MARK in the second message of sendmmsg") \
	X(bind_device, "service", EPERM, EPERM, EPERM, 0, "SO_BINDTODEVICE")                       \
	X(bind_device_index, "service", EPERM, EPERM, EPERM, 0, "SO_BINDTOIFINDEX")                \
	X(source_route, "service", EPERM, EPERM, EPERM, 0, "IP_OPTIONS")                           \
	X(source_route_message, "service", EPERM, EPERM, EPERM, 0, "IP_RETOPTS in sendmsg")        \
	X(routing_header, "service", EPERM, EPERM, EPERM, 0, "IPV6_RTHDR")                         \
	X(routing_header_message, "service", EPERM, EPERM, EPERM, 0, "IPV6_RTHDR in sendmsg")      \
	X(packet_options, "service", EPERM, EPERM, EPERM, 0, "IPV6_2292PKTOPTIONS")                \
	X(type_of_service, "service", 0, 0, 0, CONTROL, "IP_TOS in sendmmsg")                      \
	X(interface_placed, "service", EPERM, EPERM, EPERM, 0, "a veth pair with one end in the service's network") \
	X(interfaces_own, "service", 0, 0, 0, CONTROL, "a veth pair in an own network namespace")  \
	X(process_events, "service", EPERM, EPERM, EPERM, 0, "a netlink socket for process events") \
	X(device_events, "service", EPERM, EPERM, EPERM, 0, "a netlink socket for device events")  \
	X(route_socket, "service", 0, 0, 0, CONTROL, "a netlink socket for routes and addresses")  \
	X(ping_socket, "service", 0, 0, 0, CONTROL, "a raw ICMP socket")

#define KERNEL_CASES(X)                                                                            \
	X(sysctl_write, "kernel", EPERM, EPERM, EPERM, 0, "open a sysctl for writing")             \
	X(sysrq_write, "kernel", EPERM, EPERM, EPERM, 0, "open /proc/sysrq-trigger for writing")   \
	X(cgroup_list, "kernel", EPERM, EPERM, EPERM, 0, "read cgroup.procs")                      \
	X(cgroup_migrate, "kernel", EPERM, EPERM, EPERM, 0, "open cgroup.procs for writing")       \
	X(cgroup_threads_list, "kernel", EPERM, EPERM, EPERM, 0, "read cgroup.threads")            \
	X(cgroup_threads_migrate, "kernel", EPERM, EPERM, EPERM, 0, "open cgroup.threads for writing") \
	X(cgroup_kill, "kernel", EPERM, EPERM, EPERM, 0, "open cgroup.kill of the service")        \
	X(cgroup_freeze, "kernel", EPERM, EPERM, EPERM, 0, "open cgroup.freeze of the service")    \
	X(cgroup_memory, "kernel", EPERM, EPERM, EPERM, 0, "open memory.max of the service")      \
	X(cgroup_make, "kernel", EPERM, EPERM, EPERM, 0, "make a cgroup")                          \
	X(cgroup_spawn, "kernel", EPERM, EPERM, EPERM, 0, "clone3(CLONE_INTO_CGROUP) into another cgroup") \
	X(cgroup_read, "kernel", 0, 0, 0, CONTROL, "read cgroup.controllers")                      \
	X(cgroup_version1, "kernel", EPERM, EPERM, EPERM, 0, "mount a named hierarchy of cgroup version 1") \
	X(cgroup_version1_fsopen, "kernel", EPERM, EPERM, EPERM, 0, "fsopen cgroup, name a hierarchy") \
	X(bpffs_mount, "kernel", EPERM, EPERM, EPERM, 0, "mount a bpffs")                          \
	X(bpffs_fsmount, "kernel", EPERM, EPERM, EPERM, 0, "open an unattached fsmount(bpf)")      \
	X(binfmt_misc, "kernel", EPERM, EPERM, EPERM, 0, "mount binfmt_misc")                      \
	X(mount_namespaces, "kernel", EPERM, EPERM, EPERM, 0, "ioctl(NS_MNT_GET_PREV)")            \
	X(mounts_of_others, "kernel", ENOENT, ENOENT, ENOENT, 0, "listmount of another mount namespace") \
	X(namespace_by_handle, "kernel", ESTALE, ESTALE, ESTALE, 0, "open_by_handle_at of a mount namespace") \
	X(list_namespaces, "kernel", ENOENT, ENOENT, ENOENT, 0, "listns")                          \
	X(tracefs, "kernel", EPERM, EPERM, EPERM, 0, "mount tracefs and read it")                  \
	X(dev_mem, "kernel", EPERM, EPERM, EPERM, 0, "mknod and open /dev/mem")                    \
	X(ioperm, "kernel", EPERM, EPERM, EPERM, 0, "ioperm")                                      \
	X(module_load, "kernel", EPERM, EPERM, EPERM, 0, "init_module")                            \
	X(module_load_file, "kernel", EPERM, EPERM, EPERM, 0, "finit_module")                      \
	X(module_unload, "kernel", EPERM, EPERM, EPERM, 0, "delete_module")                        \
	X(kexec, "kernel", EPERM, EPERM, EPERM, 0, "kexec_load")                                   \
	X(kexec_file, "kernel", EPERM, EPERM, EPERM, 0, "kexec_file_load")                         \
	X(reboot, "kernel", EPERM, EPERM, EPERM, 0, "reboot")                                      \
	X(fanotify_permission, "kernel", EPERM, EPERM, EPERM, 0, "fanotify, permission events")    \
	X(fanotify_descriptors, "kernel", EPERM, EPERM, EPERM, 0, "fanotify, events with descriptors") \
	X(fanotify_notify, "kernel", 0, 0, 0, CONTROL, "fanotify, events with handles")            \
	X(oom_later, "kernel", EACCES, EACCES, EACCES, 0, "lower one's own oom_score_adj")         \
	X(proc_write_own, "kernel", 0, 0, 0, CONTROL, "write /proc/self/oom_score_adj")

#define MACHINE_CASES(X)                                                                           \
	X(disk_open, "machine", EPERM, EPERM, EPERM, 0, "mknod and open a block device")           \
	X(disk_mount, "machine", EPERM, EPERM, EPERM, 0, "mount a block device")                   \
	X(device_node, "machine", EPERM, EPERM, EPERM, 0, "mknod and open /dev/uinput")            \
	X(fuse_device, "machine", EPERM, EPERM, EPERM, 0, "mknod and open /dev/fuse")              \
	X(userfaultfd, "machine", EPERM, EPERM, EPERM, 0, "userfaultfd, of the kernel's faults")   \
	X(userfaultfd_own, "machine", 0, 0, 0, CONTROL, "userfaultfd, of user mode's faults")      \
	X(lock_holders, "machine", EPERM, EPERM, EPERM, 0, "open /proc/locks")                     \
	X(timers, "machine", EPERM, EPERM, EPERM, 0, "uncover and open /proc/timer_list")          \
	X(perf_tracepoint, "machine", EPERM, EPERM, EPERM, 0, "perf_event_open of a tracepoint")   \
	X(rlimit_realtime, "machine", EPERM, EPERM, EPERM, 0, "raise RLIMIT_RTPRIO")               \
	X(rlimit_core, "machine", EPERM, EPERM, EPERM, 0, "raise RLIMIT_CORE")                     \
	X(rlimit_nice, "machine", EPERM, EPERM, EPERM, 0, "raise RLIMIT_NICE of another process")  \
	X(rlimit_files_own, "machine", 0, 0, 0, CONTROL, "raise RLIMIT_NOFILE")                    \
	X(device_common, "machine", 0, 0, 0, CONTROL, "open /dev/null, zero, full, random, urandom, ptmx") \
	X(devtmpfs, "machine", EPERM, EPERM, EPERM, 0, "mount devtmpfs")                           \
	X(mqueue_own, "machine", 0, 0, 0, CONTROL, "mount mqueue")                                 \
	X(console, "machine", EPERM, EPERM, EPERM, 0, "mknod and open /dev/console")               \
	X(kernel_log, "machine", EPERM, EPERM, EPERM, 0, "syslog: read the kernel log")            \
	X(module_autoload, "machine", EAFNOSUPPORT, EAFNOSUPPORT, EAFNOSUPPORT, NEVER, "a socket of an unknown family") \
	X(net_admin, "machine", EPERM, EPERM, EPERM, 0, "set the flags of a network interface")    \
	X(net_admin_other, "machine", EPERM, EPERM, EPERM, 0, "the same from an own network namespace") \
	X(net_admin_own, "machine", 0, 0, 0, CONTROL, "the same in own user and network namespaces") \
	X(realtime, "machine", EPERM, EPERM, EPERM, 0, "sched_setscheduler(SCHED_FIFO)")           \
	X(nice_up, "machine", EACCES, EACCES, EACCES, 0, "setpriority(-5)")                        \
	X(ioprio_realtime, "machine", EPERM, EPERM, EPERM, 0, "ioprio_set(RT)")                    \
	X(ioprio_aio, "machine", EPERM, EPERM, EPERM, 0, "read by io_submit with priority RT")     \
	X(ioprio_io_uring, "machine", EPERM, EPERM, EPERM, 0, "read by io_uring with priority RT") \
	X(memory_poison, "machine", EPERM, EPERM, EPERM, 0, "madvise(MADV_SOFT_OFFLINE)")          \
	X(memory_poison_io_uring, "machine", EPERM, EPERM, EPERM, 0, "the same by io_uring")       \
	X(audit_read, "machine", EPERM, EPERM, EPERM, 0, "listen to the kernel's audit")           \
	X(settime, "machine", EPERM, EPERM, EPERM, 0, "settimeofday")                              \
	X(accounting, "machine", EPERM, EPERM, EPERM, 0, "acct")                                   \
	X(swapoff, "machine", EPERM, EPERM, EPERM, 0, "swapoff")                                   \
	X(sysfs_write, "machine", EPERM, EPERM, EPERM, 0, "mount sysfs, open a file for writing")  \
	X(key_add, "machine", EPERM, EPERM, EPERM, 0, "add_key")                                   \
	X(key_find, "machine", ENOKEY, ENOKEY, ENOKEY, 0, "find the keyring of one's user")         \
	X(securityfs, "machine", EPERM, EPERM, EPERM, 0, "mount securityfs")                       \
	X(terminal_type, "machine", EPERM, EPERM, EPERM, 0, "ioctl(TIOCSTI)")                      \
	X(terminal_discipline, "machine", EPERM, EPERM, EPERM, 0, "ioctl(TIOCSETD)")               \
	X(terminal_own, "machine", 0, 0, 0, CONTROL, "open, set and write one's own terminal")     \
	X(terminal_take_own, "machine", 0, 0, 0, CONTROL, "ioctl(TIOCSCTTY, 1) of one's own")      \
	X(hostname_own, "machine", 0, 0, 0, CONTROL, "set the host name, which is one's own")

#define FILE_CASES(X)                                                                              \
	X(file_write, "files", EPERM, EPERM, 0, 0, "open(O_WRONLY)")                               \
	X(file_append, "files", EPERM, EPERM, 0, 0, "open(O_RDWR | O_APPEND)")                     \
	X(file_open_truncate, "files", EPERM, EPERM, 0, 0, "open(O_RDONLY | O_TRUNC)")             \
	X(file_truncate, "files", EPERM, EPERM, 0, 0, "truncate")                                  \
	X(file_reopen, "files", EPERM, EPERM, 0, 0, "open(/proc/self/fd/N, O_WRONLY)")             \
	X(file_alias, "files", EPERM, EPERM, 0, 0, "open another hard link for writing")           \
	X(file_by_handle, "files", EPERM, EPERM, EPERM, 0, "open_by_handle_at(O_WRONLY)")          \
	X(file_by_bind, "files", EPERM, EPERM, 0, 0, "open by a bind mount for writing")           \
	X(file_by_overlay, "files", EPERM, EPERM, 0, 0, "an overlay above it, open for writing")   \
	X(tree_create, "files", EPERM, EPERM, 0, 0, "make a file in it")                           \
	X(tree_tmpfile, "files", EPERM, EPERM, 0, 0, "open(O_TMPFILE) in it")                      \
	X(tree_mkdir, "files", EPERM, EPERM, 0, 0, "mkdir in it")                                  \
	X(tree_symlink, "files", EPERM, EPERM, 0, 0, "symlink in it")                              \
	X(tree_mknod, "files", EPERM, EPERM, 0, 0, "mknod in it")                                  \
	X(tree_link_into, "files", EPERM, EPERM, 0, 0, "link an own file into it")                 \
	X(tree_link_out, "files", EPERM, EPERM, 0, 0, "link a file of it elsewhere")               \
	X(tree_unlink, "files", EPERM, EPERM, 0, 0, "unlink a file of it")                         \
	X(tree_unlink_alias, "files", EPERM, EPERM, 0, 0, "unlink another hard link")              \
	X(tree_rmdir, "files", EPERM, EPERM, 0, 0, "rmdir in it")                                  \
	X(tree_rename_file, "files", EPERM, EPERM, 0, 0, "rename a file out of it")                \
	X(tree_rename_over, "files", EPERM, EPERM, 0, 0, "rename an own file over one of it")      \
	X(tree_exchange, "files", EPERM, EPERM, 0, 0, "renameat2(RENAME_EXCHANGE) with a file")    \
	X(tree_exchange_root, "files", EPERM, EPERM, 0, 0, "renameat2(RENAME_EXCHANGE) with it")   \
	X(tree_move, "files", EPERM, EPERM, 0, 0, "rename it")                                     \
	X(tree_move_parent, "files", EPERM, EPERM, 0, 0, "rename the directory above")             \
	X(tree_chmod_parent, "files", EPERM, EPERM, 0, 0, "chmod the directory above")             \
	X(file_chmod, "files", EPERM, EPERM, 0, 0, "chmod")                                        \
	X(file_chown, "files", EPERM, EPERM, 0, 0, "chown")                                        \
	X(file_utimes, "files", EPERM, EPERM, 0, 0, "utimensat")                                   \
	X(file_setxattr, "files", EPERM, EPERM, 0, 0, "setxattr(security.moat)")                   \
	X(file_removexattr, "files", EPERM, EPERM, 0, 0, "removexattr(security.moat)")             \
	X(file_set_acl, "files", EPERM, EPERM, 0, 0, "set a POSIX ACL")                            \
	X(file_remove_acl, "files", EPERM, EPERM, 0, 0, "remove the POSIX ACL")                    \
	X(file_flags, "files", EPERM, EPERM, 0, 0, "ioctl(FS_IOC_SETFLAGS)")                       \
	X(file_setattr, "files", EPERM, EPERM, 0, 0, "file_setattr")                               \
	X(file_lock, "files", EPERM, EPERM, 0, 0, "flock(LOCK_EX)")                                \
	X(file_lease, "files", EPERM, EPERM, EPERM, 0, "fcntl(F_SETLEASE)")                        \
	X(fs_freeze, "files", EPERM, EPERM, EPERM, 0, "ioctl(FITHAW) of its file system")          \
	X(fs_open_by_handle, "files", EPERM, EPERM, EPERM, 0, "ioctl(XFS_IOC_OPEN_BY_HANDLE)")     \
	X(fs_subvolume, "files", EPERM, EPERM, EPERM, 0, "ioctl(BTRFS_IOC_SNAP_DESTROY)")          \
	X(tree_mount_over, "files", EPERM, EPERM, 0, 0, "mount a tmpfs over it")                   \
	X(tree_bind_over, "files", EPERM, EPERM, 0, 0, "mount --bind over a file")                 \
	X(tree_bind_private, "files", EPERM, EPERM, 0, 0, "mount(MS_BIND | MS_PRIVATE) over a file") \
	X(tree_mount_over_parent, "files", EPERM, EPERM, 0, 0, "mount over the directory above")   \
	X(tree_mount_over_shared, "files", EPERM, EPERM, 0, 0, "the same where mounts are shared") \
	X(tree_connect, "files", EPERM, EPERM, 0, 0, "connect to a socket in it")                  \
	X(tree_move_over, "files", EPERM, EPERM, 0, 0, "move_mount over it")                       \
	X(fs_remount, "files", EPERM, EPERM, EPERM, 0, "remount its file system")                  \
	X(fs_umount_force, "files", EPERM, EPERM, EPERM, 0, "umount2(MNT_FORCE) of a bind mount")  \
	X(mount_point_rmdir, "files", EPERM, EPERM, EPERM, 0, "rmdir a mount point of others")     \
	X(file_read, "files", 0, 0, 0, CONTROL, "open for reading")                                \
	X(file_beside, "files", 0, 0, 0, CONTROL, "change and rename a file beside it")

#define HIDDEN_CASES(X)                                                                            \
	X(hidden_read, "hidden", ENOENT, ENOENT, 0, 0, "open for reading")                         \
	X(hidden_write, "hidden", ENOENT, ENOENT, 0, 0, "open for writing")                        \
	X(hidden_alias, "hidden", ENOENT, ENOENT, 0, 0, "open another hard link")                  \
	X(hidden_stat, "hidden", ENOENT, ENOENT, 0, 0, "stat a file of it")                        \
	X(hidden_stat_root, "hidden", ENOENT, ENOENT, 0, 0, "stat it")                             \
	X(hidden_list, "hidden", ENOENT, ENOENT, 0, 0, "list it")                                  \
	X(hidden_reopen, "hidden", ENOENT, ENOENT, 0, 0, "O_PATH, then open(/proc/self/fd/N)")     \
	X(hidden_fstat, "hidden", ENOENT, ENOENT, 0, 0, "O_PATH, then fstat")                      \
	X(hidden_openat, "hidden", ENOENT, ENOENT, 0, 0, "O_PATH of it, then openat")              \
	X(hidden_chdir, "hidden", ENOENT, ENOENT, 0, 0, "chdir into it, then open")                \
	X(hidden_execute, "hidden", ENOENT, ENOENT, 0, 0, "execute a file of it")                  \
	X(hidden_readlink, "hidden", ENOENT, ENOENT, 0, 0, "readlink in it")                       \
	X(hidden_xattr, "hidden", ENOENT, ENOENT, 0, 0, "listxattr")                               \
	X(hidden_getxattr, "hidden", ENOENT, ENOENT, 0, 0, "getxattr")                             \
	X(hidden_acl, "hidden", ENOENT, ENOENT, 0, 0, "read its access list")                      \
	X(hidden_file_attr, "hidden", ENOENT, ENOENT, 0, 0, "file_getattr")                        \
	X(hidden_watch, "hidden", ENOENT, ENOENT, 0, 0, "inotify_add_watch")                       \
	X(hidden_link, "hidden", ENOENT, ENOENT, 0, 0, "link a file of it elsewhere")              \
	X(hidden_rename, "hidden", ENOENT, ENOENT, 0, 0, "rename a file out of it")                \
	X(hidden_unlink, "hidden", ENOENT, ENOENT, 0, 0, "unlink a file of it")                    \
	X(hidden_chmod, "hidden", ENOENT, ENOENT, 0, 0, "chmod a file of it")                      \
	X(hidden_create, "hidden", ENOENT, ENOENT, 0, 0, "make a file in it")                      \
	X(hidden_by_bind, "hidden", ENOENT, ENOENT, 0, 0, "by a bind mount of it")                 \
	X(hidden_by_bind_above, "hidden", ENOENT, ENOENT, 0, 0, "by a bind mount of the directory above") \
	X(hidden_by_clone, "hidden", ENOENT, ENOENT, 0, 0, "by open_tree(OPEN_TREE_CLONE)")        \
	X(hidden_uncovered, "hidden", ENOENT, ENOENT, 0, 0, "after umount2(MNT_DETACH) of what covers it") \
	X(hidden_by_overlay, "hidden", ENOENT, ENOENT, 0, 0, "by an overlay above it")             \
	X(mount_take_off, "hidden", EPERM, EPERM, 0, 0, "umount2(MNT_DETACH) of moat-init's /dev") \
	X(mount_change, "hidden", EPERM, EPERM, 0, 0, "mount(MS_REMOUNT | MS_BIND) of it")         \
	X(mount_setattr, "hidden", EPERM, EPERM, 0, 0, "mount_setattr of it")                      \
	X(mount_tree_attr, "hidden", EPERM, EPERM, 0, 0, "open_tree_attr of it")                   \
	X(mount_move, "hidden", EPERM, EPERM, 0, 0, "mount(MS_MOVE) of it")                        \
	X(mount_move_tree, "hidden", EPERM, EPERM, 0, 0, "move_mount of it")

/* By int $0x80, what another case of the group does by a 64-bit call. */
#define COMPAT_CASES(X)                                                                            \
	X(compat_kill, "signals", EPERM, ESRCH, 0, 0, "32-bit kill(pid, SIGTERM)")                 \
	X(compat_sigio, "signals", EPERM, ESRCH, 0, 0, "32-bit fcntl64(F_SETOWN)")                 \
	X(compat_ptrace, "control", EPERM, ESRCH, 0, 0, "32-bit ptrace(PTRACE_ATTACH)")            \
	X(compat_robust_list, "control", EPERM, ESRCH, 0, 0, "32-bit get_robust_list")             \
	X(compat_madvise, "control", EACCES, ESRCH, 0, 0, "32-bit process_madvise(MADV_COLD)")     \
	X(compat_bind, "ports", EADDRINUSE, EADDRINUSE, 0, 0, "32-bit socketcall(SYS_BIND)")       \
	X(compat_connect, "service", ECONNREFUSED, ECONNREFUSED, 0, 0, "32-bit socketcall(SYS_CONNECT)") \
	X(compat_file_by_handle, "files", EPERM, EPERM, EPERM, 0, "32-bit open_by_handle_at")      \
	X(compat_fs_freeze, "files", EPERM, EPERM, EPERM, 0, "32-bit ioctl(FITHAW)")               \
	X(compat_swapoff, "machine", EPERM, EPERM, EPERM, 0, "32-bit swapoff")                     \
	X(compat_ioprio, "machine", EPERM, EPERM, EPERM, 0, "32-bit ioprio_set(RT)")

#define CASES(X)                                                                                   \
	SIGNAL_CASES(X) CONTROL_CASES(X) PROC_CASES(X) MOUNT_CASES(X) PORT_CASES(X) REACH_CASES(X) \
	SERVICE_CASES(X) KERNEL_CASES(X) MACHINE_CASES(X) FILE_CASES(X) HIDDEN_CASES(X) BPF_CASES(X) \
	COMPAT_CASES(X)

#endif
