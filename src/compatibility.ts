/** The version of Redis that a node says it is like, wherever clients decide by it what they may ask for (`INFO`, `HELLO`, `COMMAND DOCS`). */
export const REDIS_VERSION = "7.0.15";
