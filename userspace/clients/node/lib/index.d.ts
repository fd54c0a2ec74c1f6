// SPDX-License-Identifier: Apache-2.0

/** A command string (moat-run(7)), the arguments of a program, or what the tag `command` made. */
export type CommandLike = string | ReadonlyArray<string | Uint8Array> | Command;
export type Variables = Readonly<Record<string, string | Uint8Array>>;
/** null takes a variable out. */
export type VariableChanges = Readonly<Record<string, string | Uint8Array | null>>;
export type Value = string | number | bigint | boolean;
export type OutputStream = "stdout" | "stderr";

export interface MoatOptions {
	/** Default: the variable MOAT_SOCKET, else /run/moat/moat.sock. */
	socketPath?: string;
	/** Milliseconds that an answer may take that is no stream. Default: 60000. */
	requestTimeout?: number;
	/** For all commands, unless they say otherwise. */
	onUnsupported?: "error" | "bash";
}

export interface StreamOptions {
	/** For this command alone, which then runs apart from all others, unless `isolated` is false. */
	env?: Variables;
	/** An absolute path. */
	cwd?: string;
	/** Milliseconds, after which the command and all that it has started is killed. */
	timeout?: number;
	/** Bytes of both streams together: one that writes more is killed as well, and what lies beyond is left out. */
	outputLimit?: number;
	/** With this `timeout` or `outputLimit` begins, such as "SIGTERM", for all of it; what is left is killed killAfter milliseconds later (5000). */
	killSignal?: string;
	killAfter?: number;
	stdin?: string | Uint8Array;
	/** "file": stdin is a file of its own, /proc/self/fd/0, for a key that a program takes by the name of a file. */
	stdinAs?: "stream" | "file";
	/** On a terminal of its own, of rows and cols (24 and 80); all that is written comes as stdout. */
	tty?: boolean;
	rows?: number;
	cols?: number;
	/** The context session-ID, which is made when it is not there. Not with a context. */
	sessionId?: string;
	isolated?: boolean;
	/** Kills the command and all that it has started; then the signal's reason is thrown. */
	signal?: AbortSignal;
	/**
	 * What becomes of a string that goes beyond moat's language, or has a substitution as text: "error": it is refused, or stays as it
	 * is; "bash": the context's bash, or sh, runs it. Without it, as the context has it. A template with values is never given to one.
	 */
	onUnsupported?: "error" | "bash";
	/**
	 * Of the caller's own choice, 1 to 64 of A-Z a-z 0-9 . _ -: the command is sent again when the answer is lost, and
	 * runs once. The agent takes 65536 of them an hour.
	 */
	id?: string;
	/** Go on where the agent did not keep output, because it was not read in time. Else that is thrown: OUTPUT_LOST. */
	allowGaps?: boolean;
}

export interface ExecOptions extends StreamOptions {
	/** Called in order with each piece of output; the next one, and in the end the command, waits for its promise. */
	onOutput?: (stream: OutputStream, text: string, data: Uint8Array) => void | Promise<void>;
	/** Bytes of each stream that the result keeps. Default: 16 MiB. */
	maxOutput?: number;
}

export interface ProcessOptions extends ExecOptions {
	/** Its standard input is written with write(); so is that of a terminal without it. */
	stdinOpen?: boolean;
}

export interface AttachOptions {
	/** From how many bytes of output on, of both streams together. Default: 0. */
	since?: number;
	/** See StreamOptions. */
	allowGaps?: boolean;
	/** See ExecOptions. */
	onOutput?: ExecOptions["onOutput"];
	maxOutput?: number;
}

export interface WaitOptions {
	/** Milliseconds. Default: 30000. */
	timeout?: number;
	signal?: AbortSignal;
}

export interface Listener {
	port: number;
	protocol: "tcp" | "udp";
	address: string;
	/** Of the command that made the socket; null where none did. */
	context: string | null;
	id: string | null;
	service: string | null;
}

/** A path; as bytes, where it is not UTF-8. */
export type Path = string | Uint8Array;

export interface FileInfo {
	path: string;
	/** "base64": what path is encoded in, where it is not UTF-8. */
	pathEncoding?: string;
	type: "file" | "directory" | "link" | "fifo" | "socket" | "device";
	size: number;
	/** Octal digits. */
	mode: string;
	uid: number;
	gid: number;
	modifiedAt: string;
	/** Of a link. */
	target?: string;
	targetEncoding?: string;
	/** Where it was asked for. */
	sha256?: string;
}

export interface WriteInfo extends FileInfo {
	created: boolean;
}

export interface Listing {
	entries: FileInfo[];
	/** There are more than limit. */
	truncated: boolean;
}

export interface RangeOptions {
	/** The first byte. */
	offset?: number;
	length?: number;
}

export interface ReadOptions extends RangeOptions {
	/** A larger file is refused, FILE_TOO_LARGE. Default: 64 MiB. */
	maxBytes?: number;
}

export interface WriteOptions {
	/** Of a new file: "0644". */
	mode?: string;
	/** Whether missing directories above it are made. Default: true. */
	mkdirs?: boolean;
	/** false: into the file that is there, which other names and mounts of it then have as well. */
	atomic?: boolean;
	/** Only where there is none: else FILE_EXISTS. */
	ifAbsent?: boolean;
	/** Only where its content has this SHA-256: else FILE_CHANGED. */
	ifMatch?: string;
}

/** The whole, or pieces of it, which are sent as they come. */
export type Content = string | Uint8Array | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>;

export interface SecureOptions extends ExecOptions {
	/** Run it also where the kernel does not shield its variables. */
	allowUnshielded?: boolean;
}

export interface Warning {
	code: string;
	message: string;
	offset?: number;
	name?: string;
}

export interface Exit {
	id: string;
	/** 128 and the signal's number, where one ended it. */
	exitCode: number;
	signal: string | null;
	timedOut: boolean;
	/** It wrote more than outputLimit. */
	outputLimited: boolean;
	/** null where that cannot be known. */
	oomKilled: boolean | null;
	filesInMemory?: number;
	stdoutBytes: number;
	stderrBytes: number;
	truncated: boolean;
	durationMs: number;
	context: string;
	created: boolean;
	warnings: Warning[];
	/** Of a string that was given to one: "bash", "sh". */
	interpreter: string | null;
}

export interface Raw {
	stdout: Uint8Array;
	stderr: Uint8Array;
}

export interface ExecResult extends Exit {
	/** Whether exitCode is 0. */
	ok: boolean;
	stdout: string;
	stderr: string;
	/** The same as it was written. */
	raw: Raw;
	/** Of this life of the agent. */
	instance: string;
}

export interface StartEvent {
	type: "start";
	id: string;
	context: string;
	created: boolean;
	pid: number;
	startedAt: string;
	/** Of this life of the agent. */
	instance: string;
	warnings: Warning[];
}

export interface OutputEvent {
	type: OutputStream;
	data: Uint8Array;
	text: string;
}

/** How many bytes are lost; null where it is not known of which stream. */
export interface GapEvent {
	type: "gap";
	lost: number;
	stdout: number | null;
	stderr: number | null;
}

export interface ExitEvent extends Exit {
	type: "exit";
}

export type ExecEvent = StartEvent | OutputEvent | GapEvent | ExitEvent;

export interface ContextInfo {
	name: string;
	number: number;
	state: "ready" | "ending";
	session: boolean;
	running: number;
	createdAt: string;
	[field: string]: unknown;
}

export interface ContextDetails extends ContextInfo {
	settings: Record<string, unknown>;
	/** What all of its commands take; null where nothing counts it. memory: bytes; cpuUs: ever. */
	usage: { memory: number | null; processes: number | null; cpuUs: number | null };
}

/** The keys of [context NAME] in moat.conf(5). */
export interface ContextKeys {
	/** What every context is: isolated from others, and its state stays. */
	isolation?: true;
	persistent?: true;
	env?: VariableChanges;
	directory?: string;
	workspace?: string;
	preset?: string[];
	/** "NAME -> TARGET" */
	link?: string[];
	shell?: "never" | "fallback";
	namespace?: "user" | "secure" | "private";
	pid?: "private" | "shared";
	capabilities?: string;
	no_new_privs?: boolean;
	home?: string;
	tmp?: "shared" | "private";
	careful?: boolean;
	memory_max?: number | string;
	pids_max?: number | string;
	cpu_max?: number | string;
	[key: string]: unknown;
}

export interface ProcessInfo extends Partial<Exit> {
	id: string;
	state: "starting" | "running" | "background" | "ended";
	[field: string]: unknown;
}

export interface Logs {
	stdout: string;
	stderr: string;
	raw: Raw;
	stdoutBytes: number;
	stderrBytes: number;
	truncated: boolean;
}

export interface ServiceInfo {
	name: string;
	state: "stopped" | "starting" | "ready" | "backoff" | "exited" | "stopping";
	pid: number | null;
	[field: string]: unknown;
}

export interface Status {
	version: string;
	instance: string;
	enforcement: { active: boolean; mode: "enforce" | "audit" | "off"; reason: string | null };
	notEnforced: string[];
	[field: string]: unknown;
}

export interface EventRecord {
	type: string;
	seq?: number;
	[field: string]: unknown;
}

/** What can be run, in a context or where the options say. */
declare class Runner {
	/** Of the context; of the agent: those of the context default. */
	readonly files: Files;
	/** Runs a command to its end. Whatever its status, that is a result. */
	exec(command: CommandLike, options?: ExecOptions): Promise<ExecResult>;
	/** The same of a template, each of whose values is exactly one word: ctx.exec`git clone ${url} && ls`. */
	exec(strings: TemplateStringsArray, ...values: Value[]): Promise<ExecResult>;
	/**
	 * Its records as they come: start, output, exit. Who reads slowly holds the command back for some 30
	 * seconds; who stops reading leaves it running. A connection that is lost is taken up where it stopped.
	 */
	execStream(command: CommandLike, options?: StreamOptions): AsyncGenerator<ExecEvent, void, undefined>;
	execStream(strings: TemplateStringsArray, ...values: Value[]): AsyncGenerator<ExecEvent, void, undefined>;
	/** Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED. */
	execSecure(command: CommandLike, options?: SecureOptions): Promise<ExecResult>;
	/** Starts a command that goes on. Its result keeps, unless told otherwise, 1 MiB of each stream. */
	startProcess(command: CommandLike, options?: ProcessOptions): Promise<Process>;
	startProcess(strings: TemplateStringsArray, ...values: Value[]): Promise<Process>;
}

/** An agent. What it runs itself runs in the context default, or in that of a session. */
export class Moat extends Runner {
	constructor(options?: MoatOptions);
	/** A context that there is. Nothing is asked. */
	context(name: string): Context;
	/** The context `platform`, for what has the platform's credentials; made by its first use. */
	get platform(): Context;
	/** The context `user`, for generated code; made by its first use. */
	get user(): Context;
	createContext(settings: { name: string } & ContextKeys): Promise<Context>;
	contexts(): Promise<ContextInfo[]>;
	execInContext(name: string, command: CommandLike, options?: ExecOptions): Promise<ExecResult>;
	/** Sets variables of the context default, which later ones are made with. */
	setEnvVars(variables: VariableChanges): Promise<ContextDetails>;
	/** False unless the variables of a command are shielded from all others: by the kernel programs, or without them by
	 * Landlock, as long as no context has CAP_SYS_ADMIN. */
	hasSecureExecution(): Promise<boolean>;
	/** The same, and why not. */
	secureExecution(): Promise<{ available: boolean; reason: string | null }>;
	processes(): Promise<ProcessInfo[]>;
	process(id: string): Promise<ProcessInfo>;
	/** A command that somebody has started, while it runs or later. */
	attach(id: string, options?: AttachOptions): Promise<Process>;
	/** What a command has written so far; of more than a MiB of a stream, what came first and what came last. */
	logs(id: string): Promise<Logs>;
	/** Ends a command and all that it has started; false when nothing was left. */
	kill(id: string): Promise<boolean>;
	/** To its process group; to: "main", to itself, or "tree", to all that it has started. */
	signal(id: string, signal: string | number, options?: { to?: "main" | "tree" }): Promise<{ id: string; signal: string }>;
	/** What commands and services listen on. */
	ports(): Promise<Listener[]>;
	/** Resolves when something listens on a port. Throws a WaitError after `timeout`. */
	waitForPort(port: number, options?: WaitOptions): Promise<Listener[]>;
	status(): Promise<Status>;
	services(): Promise<ServiceInfo[]>;
	/** Throws while the agent does not serve; ready: or a service is not ready; service: this one. */
	health(options?: { ready?: boolean; service?: string }): Promise<{ status: "ok" }>;
	mode(): Promise<"enforce" | "audit" | "off">;
	/** The mode before. */
	setMode(mode: "enforce" | "audit"): Promise<string>;
	/** In the text format of Prometheus. */
	metrics(): Promise<string>;
	/** What the agent has recorded behind number `since`; follow: and what it records from now on. */
	events(options?: { since?: number; follow?: boolean; signal?: AbortSignal }):
		AsyncGenerator<EventRecord, void, undefined>;
}

export class Context extends Runner {
	private constructor();
	readonly name: string;
	/** Of createContext. */
	readonly warnings: Warning[];
	/** For what is started later. */
	setEnv(variables: VariableChanges): Promise<ContextDetails>;
	/** Where commands start that say nothing else; null: as if it had never been given. */
	setDirectory(directory: string | null): Promise<ContextDetails>;
	/** As `cd` in a command string, for the commands that come. */
	cd(directory: string): Promise<void>;
	/** Forgets what its command strings went to, exported, assigned and unset. */
	resetState(): Promise<boolean>;
	info(): Promise<ContextDetails>;
	/** Kills what runs in it, and removes it; keep: lets it run to its end. */
	remove(options?: { keep?: boolean }): Promise<{ name: string; removed: boolean }>;
}

/**
 * The files of a context, with the rights of its commands. A path that does not begin with / is beneath its workspace, or else its
 * directory. What is read there is a program's word: other commands of the context can have changed it.
 */
export class Files {
	private constructor();
	/** As text; what is not UTF-8 is refused, NOT_TEXT. */
	read(path: Path, options?: ReadOptions): Promise<string>;
	readBytes(path: Path, options?: ReadOptions): Promise<Uint8Array>;
	/** Of any size, piece by piece. Throws where it does not come whole. */
	readStream(path: Path, options?: RangeOptions): AsyncGenerator<Uint8Array, void, undefined>;
	/** Replaces the content at once, or not at all; makes the file and the directories above it. */
	write(path: Path, content: Content, options?: WriteOptions): Promise<WriteInfo>;
	/** Puts something behind the content. */
	append(path: Path, content: Content, options?: { mode?: string; mkdirs?: boolean }): Promise<WriteInfo>;
	/** In no order; limit: 1000 without it. */
	list(path: Path, options?: { recursive?: boolean; limit?: number }): Promise<Listing>;
	/** Of a link itself; hash: with sha256 of a file. */
	stat(path: Path, options?: { hash?: boolean }): Promise<FileInfo>;
	exists(path: Path): Promise<boolean>;
	/** And those above it; one that is there is fine then. */
	mkdir(path: Path, options?: { mode?: string; mkdirs?: boolean }): Promise<Record<string, unknown>>;
	/** A file, a link or an empty directory; recursive: one that is not empty as well. */
	remove(path: Path, options?: { recursive?: boolean }): Promise<Record<string, unknown>>;
	rename(path: Path, to: string, options?: { overwrite?: boolean; mkdirs?: boolean }): Promise<Record<string, unknown>>;
	/** Replaces a text that is there exactly `count` times (1); otherwise nothing is changed: NOT_REPLACED. */
	replace(path: Path, old: string, text: string, options?: { count?: number; ifMatch?: string }): Promise<Record<string, unknown>>;
}

/** A command that goes on, made by startProcess or attach. */
export class Process {
	private constructor();
	readonly id: string;
	readonly context: string;
	readonly created: boolean;
	readonly pid: number;
	readonly startedAt: string;
	readonly warnings: Warning[];
	/** The result, when it has ended. */
	readonly exited: Promise<ExecResult>;
	/** Resolves when it has written this. Throws a WaitError after `timeout` (30000 ms), or when the process ends. */
	waitForOutput(pattern: string | RegExp, options?: { timeout?: number; signal?: AbortSignal }):
		Promise<{ stream: OutputStream; match: RegExpExecArray | [string] }>;
	/** Resolves when it listens on a port, or what it has started does. Throws a WaitError as waitForOutput does. */
	waitForPort(port: number, options?: WaitOptions): Promise<Listener[]>;
	/** Its result, when it has ended; tree: when nothing is left that it has started, either. Throws a WaitError after `timeout`. */
	wait(options?: { timeout?: number; tree?: boolean }): Promise<ExecResult>;
	/** To its standard input; resolves when its pipe has taken all of it. Each byte arrives once, in order. */
	write(data: string | Uint8Array): Promise<void>;
	/** The end of its standard input. */
	closeStdin(): Promise<void>;
	/** Of its terminal. */
	resize(size: { rows: number; cols: number }): Promise<Record<string, unknown>>;
	/** To its process group; to: "main", to itself, or "tree", to all that it has started. */
	signal(signal: string | number, options?: { to?: "main" | "tree" }): Promise<{ id: string; signal: string }>;
	kill(): Promise<boolean>;
	status(): Promise<ProcessInfo>;
}

/** A command string that was made of a template. Freezes what its values are. */
export class Command {
	private constructor();
	readonly text: string;
	/** Then it is never given to bash. */
	readonly hasValues: boolean;
	toString(): string;
}

/** command`ls ${directory}`: for where options are needed as well. */
export function command(strings: TemplateStringsArray, ...values: Value[]): Command;
/** The word of the command language that stands for exactly this text. */
export function quote(text: string): string;

/** code is stable; details has what is known beside it. */
export class MoatError extends Error {
	constructor(code: string, message: string, details?: Record<string, unknown>, options?: ErrorOptions);
	readonly code: string;
	readonly details: Record<string, any>;
}

/** The agent refused: code, message and details are its own (moat-api(7)). */
export class ApiError extends MoatError {
	private constructor();
	/** Of HTTP. */
	readonly status: number;
}

/** CANNOT_CONNECT: nothing was sent. CONNECTION_LOST, NO_ANSWER: it may have been done all the same. */
export class ConnectionError extends MoatError {}

/**
 * STREAM_CUT: the connection was lost, and the stream could not be taken up again; how the command ended is not
 * known, and it may still run. OUTPUT_LOST: the agent did not keep what was not read in time.
 */
export class StreamError extends MoatError {
	readonly id: string | null;
	/** What it had written before. */
	readonly raw: Raw | null;
}

/** TIMEOUT, or PROCESS_ENDED with the result. */
export class WaitError extends MoatError {
	readonly result: ExecResult | null;
}
