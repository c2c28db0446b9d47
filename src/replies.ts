/** Error replies that many commands share, in Redis' words. */

export const WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
export const SYNTAX_ERROR = "ERR syntax error";
export const NOT_AN_INTEGER = "ERR value is not an integer or out of range";
export const NO_SUCH_KEY = "ERR no such key";
export const TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
