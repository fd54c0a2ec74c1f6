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
	stdin?: string | Uint8Array;
	/** The context session-ID, which is made when it is not there. Not with a context. */
	sessionId?: string;
	isolated?: boolean;
	/** Kills the command and all that it has started; then the signal's reason is thrown. */
	signal?: AbortSignal;
	/** What to do with a string that goes beyond moat's language. "bash": bash runs it, as `interpreter` says. */
	onUnsupported?: "error" | "bash";
}

export interface ExecOptions extends StreamOptions {
	/** Called in order with each piece of output; the next one, and in the end the command, waits for its promise. */
	onOutput?: (stream: OutputStream, text: string, data: Uint8Array) => void | Promise<void>;
	/** Bytes of each stream that the result keeps. Default: 16 MiB. */
	maxOutput?: number;
}

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
	/** null where that cannot be known. */
	oomKilled: boolean | null;
	filesInMemory?: number;
	stdoutBytes: number;
	stderrBytes: number;
	truncated: boolean;
	durationMs: number;
	context: string;
	created: boolean;
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
	warnings: Warning[];
	/** Of a string that was given to one: "bash". */
	interpreter: string | null;
}

export interface StartEvent {
	type: "start";
	id: string;
	context: string;
	created: boolean;
	pid: number;
	startedAt: string;
	warnings: Warning[];
	interpreter: string | null;
}

export interface OutputEvent {
	type: OutputStream;
	data: Uint8Array;
	text: string;
}

export interface ExitEvent extends Exit {
	type: "exit";
}

export type ExecEvent = StartEvent | OutputEvent | ExitEvent;

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
}

/** The keys of [context NAME] in moat.conf(5). */
export interface ContextKeys {
	env?: VariableChanges;
	directory?: string;
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
	/** Runs a command to its end. Whatever its status, that is a result. */
	exec(command: CommandLike, options?: ExecOptions): Promise<ExecResult>;
	/** The same of a template, each of whose values is exactly one word: ctx.exec`git clone ${url} && ls`. */
	exec(strings: TemplateStringsArray, ...values: Value[]): Promise<ExecResult>;
	/**
	 * Its records as they come: start, output, exit. Who reads slowly holds the command back; who stops
	 * reading leaves it running.
	 */
	execStream(command: CommandLike, options?: StreamOptions): AsyncGenerator<ExecEvent, void, undefined>;
	execStream(strings: TemplateStringsArray, ...values: Value[]): AsyncGenerator<ExecEvent, void, undefined>;
	/** Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED. */
	execSecure(command: CommandLike, options?: SecureOptions): Promise<ExecResult>;
	/** Starts a command that goes on. Its result keeps, unless told otherwise, 1 MiB of each stream. */
	startProcess(command: CommandLike, options?: ExecOptions): Promise<Process>;
	startProcess(strings: TemplateStringsArray, ...values: Value[]): Promise<Process>;
}

/** An agent. What it runs itself runs in the context default, or in that of a session. */
export class Moat extends Runner {
	constructor(options?: MoatOptions);
	/** A context that there is. Nothing is asked. */
	context(name: string): Context;
	createContext(settings: { name: string } & ContextKeys): Promise<Context>;
	contexts(): Promise<ContextInfo[]>;
	execInContext(name: string, command: CommandLike, options?: ExecOptions): Promise<ExecResult>;
	/** Sets variables of the context default, which later ones are made with. */
	setEnvVars(variables: VariableChanges): Promise<ContextDetails>;
	/** False unless the kernel shields the variables of a command from all others. */
	hasSecureExecution(): Promise<boolean>;
	/** The same, and why not. */
	secureExecution(): Promise<{ available: boolean; reason: string | null }>;
	processes(): Promise<ProcessInfo[]>;
	process(id: string): Promise<ProcessInfo>;
	/** What a command has written so far: of each stream its first MiB. */
	logs(id: string): Promise<Logs>;
	/** Ends a command and all that it has started; false when nothing was left. */
	kill(id: string): Promise<boolean>;
	/** To its process group. */
	signal(id: string, signal: string | number): Promise<{ id: string; signal: string }>;
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
	info(): Promise<ContextDetails>;
	/** Kills what runs in it, and removes it; keep: lets it run to its end. */
	remove(options?: { keep?: boolean }): Promise<{ name: string; removed: boolean }>;
}

/** A command that goes on, made by startProcess. */
export class Process {
	private constructor();
	readonly id: string;
	readonly context: string;
	readonly created: boolean;
	readonly pid: number;
	readonly startedAt: string;
	readonly warnings: Warning[];
	readonly interpreter: string | null;
	/** The result, when it has ended. */
	readonly exited: Promise<ExecResult>;
	/** Resolves when it has written this. Throws a WaitError after `timeout` (30000 ms), or when the process ends. */
	waitForOutput(pattern: string | RegExp, options?: { timeout?: number; signal?: AbortSignal }):
		Promise<{ stream: OutputStream; match: RegExpExecArray | [string] }>;
	signal(signal: string | number): Promise<{ id: string; signal: string }>;
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

/** STREAM_CUT: how the command ended is not known, and it may still run. */
export class StreamError extends MoatError {
	readonly id: string | null;
	/** What it had written before. */
	readonly raw: Raw | null;
}

/** TIMEOUT, or PROCESS_ENDED with the result. */
export class WaitError extends MoatError {
	readonly result: ExecResult | null;
}
