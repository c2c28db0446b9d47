/** Limits of checks that nobody has to choose. */

/** A shard whose primary has less to do is not worth moving slots for: a part of its time, 0 to 1. */
export const BALANCE_LEAST_BUSY = 0.2;
/** The same for what it holds, in bytes. */
export const BALANCE_LEAST_BYTES = 256 * 1024 * 1024;
/** Names and ranges that a summary shows; of more it tells how many there are. */
export const SHOWN = 6;
/** A node that starts, or begins to lead, has so long until others are told of what is not well, in milliseconds: most of that is not there yet. */
export const BEGIN_MS = 10_000;
