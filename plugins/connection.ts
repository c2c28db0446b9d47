/**
 * connection: the commands with which a client deals with its own connection: greeting, password, protocol version.
 *
 * Promises: the password is compared in constant time, and is in no log; a client that has not given it can do nothing but give it; RESET brings a connection
 * back to how it came. To change the password of a running cluster, give each node the new one beside the old one (`CONFIG SET requirepass-also new`), have clients use it, then
 * make it the only one (`CONFIG SET requirepass new requirepass-also ""`). Clients that are let in stay so. What was set so is over with the process. `CLIENT` and its subcommands are a plugin of their own (`clients`).
 */
import { integer32Error, integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { MAX_PASSWORD_LENGTH } from "../src/client-passwords.ts";
import { topologyService } from "../src/contracts/topology.ts";
import { routerService } from "../src/contracts/routing.ts";
import { REDIS_VERSION } from "../src/compatibility.ts";
import { isLoopback } from "../src/loopback.ts";
import { definePlugin } from "../src/plugin.ts";

const WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD_SET =
  "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
const HELLO_UNAUTHENTICATED =
  "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
/** Characters that a client's name may have: those that do not break a line of CLIENT LIST. */
const CLIENT_NAME = /^[!-~]*$/;
const BAD_CLIENT_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";

export default definePlugin({
  name: "connection",
  summary: "Greeting, password and protocol version of connections.",
  uses: { topology: topologyService, router: routerService },
  setup(context) {
    const { core, passwords, uses } = context;
    const isCluster = uses.router !== undefined;

    /** @returns The error, or `undefined` once the client is let in. */
    const authenticate = (call: Call, user: string, password: Uint8Array): string | undefined => {
      if (user !== "default" || !passwords.accepts(password)) {
        context.world.log.warn("wrong password", {
          remote: call.client.transport.remoteAddress,
          user: user.slice(0, 64),
        });
        return WRONG_PASSWORD;
      }
      call.client.isAuthenticated = true;
      call.client.user = user;
      return undefined;
    };

    /** A parameter that is a password; empty: none. It is told to nobody. */
    const password = (
      name: string,
      get: () => string | undefined,
      apply: (value: string | undefined) => string | undefined,
    ): void =>
      context.parameter({
        name,
        isSecret: true,
        get: () => (get() === undefined ? "" : "(set)"),
        keep: () => {
          const { current, also } = passwords;
          return () => passwords.replace(current, also);
        },
        set(value) {
          if (value.length > MAX_PASSWORD_LENGTH) return `a password has ${MAX_PASSWORD_LENGTH} characters at most`;
          const problem = apply(value === "" ? undefined : value);
          if (problem === undefined)
            context.world.log.info("password changed", { parameter: name, isSet: value !== "" });
          return problem;
        },
      });
    password(
      "requirepass",
      () => passwords.current,
      (value) => {
        if (value === undefined && !core.insecure && !isLoopback(core.host)) {
          return `clients on ${core.host} need a password, unless the node is started with --insecure`;
        }
        passwords.replace(value, passwords.also);
        return undefined;
      },
    );
    password(
      "requirepass-also",
      () => passwords.also,
      (value) => {
        passwords.replace(passwords.current, value);
        return undefined;
      },
    );

    context.command({
      name: "ping",
      syntax: "[message]",
      arity: -1,
      flags: ["fast"],
      group: "connection",
      categories: ["connection"],
      summary: "Answers PONG, or its argument.",
      complexity: "O(1)",
      since: "1.0.0",
      tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
      run(call) {
        if (call.count === 1) call.reply.simple("PONG");
        else if (call.count === 2) call.reply.bulk(call.bytes, call.start(1), call.end(1));
        else call.reply.error("ERR wrong number of arguments for 'ping' command");
      },
    });
    context.command({
      name: "echo",
      syntax: "message",
      arity: 2,
      flags: ["loading", "stale", "fast"],
      group: "connection",
      categories: ["connection"],
      summary: "Answers its argument.",
      complexity: "O(1)",
      since: "1.0.0",
      run: (call) => call.reply.bulk(call.bytes, call.start(1), call.end(1)),
    });
    context.command({
      name: "quit",
      arity: -1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      group: "connection",
      categories: ["connection"],
      summary: "Answers OK and closes the connection.",
      complexity: "O(1)",
      since: "1.0.0",
      run(call) {
        call.reply.ok();
        call.client.transport.closeAfterReply();
      },
    });
    context.command({
      name: "reset",
      arity: 1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      group: "connection",
      categories: ["connection"],
      summary: "Brings the connection back to how it came.",
      complexity: "O(1)",
      since: "6.2.0",
      run(call) {
        context.hooks.clientReset.notify(call.client);
        call.client.reset(!passwords.isNeeded);
        call.reply.protocol = 2;
        call.reply.simple("RESET");
      },
    });
    context.command({
      name: "auth",
      syntax: "[username@6.0.0] password",
      arity: -2,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy", "skip_slowlog"],
      group: "connection",
      categories: ["connection"],
      summary: "Gives the password.",
      complexity: "O(1)",
      since: "1.0.0",
      run(call) {
        if (call.count > 3) {
          call.reply.error("ERR syntax error");
          return;
        }
        if (call.count === 2 && !passwords.isNeeded) {
          call.reply.error(NO_PASSWORD_SET);
          return;
        }
        const user = call.count === 3 ? call.text(1) : "default";
        const error = authenticate(call, user, call.copy(call.count - 1));
        if (error === undefined) call.reply.ok();
        else call.reply.error(error);
      },
    });
    context.command({
      name: "hello",
      syntax: "[arguments:(protover:integer [AUTH (username password)] [SETNAME clientname])]",
      arity: -1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy", "skip_slowlog"],
      group: "connection",
      categories: ["connection"],
      summary: "Greets, and chooses the version of the protocol.",
      complexity: "O(1)",
      since: "6.0.0",
      run(call) {
        const { client, reply } = call;
        let protocol: 2 | 3 | undefined;
        if (call.count > 1) {
          const version = integerArgument(call, 1);
          if (Number.isNaN(version)) {
            reply.error("ERR Protocol version is not an integer or out of range");
            return;
          }
          if (version !== 2 && version !== 3) {
            reply.error("NOPROTO unsupported protocol version");
            return;
          }
          protocol = version;
        }
        // As in Redis, each option takes effect when it is read, also if a later one is wrong.
        for (let index = 2; index < call.count; index += 1) {
          const more = call.count - 1 - index;
          if (call.is(index, "AUTH") && more >= 2) {
            const error = authenticate(call, call.text(index + 1), call.copy(index + 2));
            if (error !== undefined) {
              reply.error(error);
              return;
            }
            index += 2;
          } else if (call.is(index, "SETNAME") && more >= 1) {
            const name = call.text(index + 1);
            if (!CLIENT_NAME.test(name)) {
              reply.error(BAD_CLIENT_NAME);
              return;
            }
            client.name = name;
            index += 1;
          } else {
            reply.error(`ERR Syntax error in HELLO option '${call.shown(index)}'`);
            return;
          }
        }
        if (!client.isAuthenticated) {
          reply.error(HELLO_UNAUTHENTICATED);
          return;
        }
        if (protocol !== undefined) {
          client.protocol = protocol;
          reply.protocol = protocol;
        }
        reply.map(7);
        reply.bulkText("server");
        reply.bulkText("redis");
        reply.bulkText("version");
        reply.bulkText(REDIS_VERSION);
        reply.bulkText("proto");
        reply.integer(client.protocol);
        reply.bulkText("id");
        reply.integer(client.id);
        reply.bulkText("mode");
        reply.bulkText(isCluster ? "cluster" : "standalone");
        reply.bulkText("role");
        reply.bulkText(roleOf());
        reply.bulkText("modules");
        reply.array(0);
      },
    });
    const roleOf = (): string => {
      const { topology } = uses;
      if (topology === undefined) return "master";
      return topology.selfShard?.replicas.includes(topology.self.id) === true ? "replica" : "master";
    };
    context.command({
      name: "select",
      syntax: "index:integer",
      arity: 2,
      flags: ["loading", "stale", "fast"],
      group: "connection",
      categories: ["connection"],
      summary: "Chooses the database: 0, the only one.",
      complexity: "O(1)",
      since: "1.0.0",
      run(call) {
        const database = integerArgument(call, 1);
        const error = integer32Error(database);
        if (error !== undefined) call.reply.error(error);
        else if (database === 0) call.reply.ok();
        else call.reply.error(isCluster ? "ERR SELECT is not allowed in cluster mode" : "ERR DB index is out of range");
      },
    });
    for (const [name, summary, apply] of [
      ["readonly", "Lets the connection read from replicas.", (call: Call) => (call.client.isReadOnly = true)],
      ["readwrite", "Ends what READONLY began.", (call: Call) => (call.client.isReadOnly = false)],
    ] as const) {
      context.command({
        name,
        arity: 1,
        flags: ["loading", "stale", "fast"],
        group: "cluster",
        categories: ["connection"],
        summary,
        complexity: "O(1)",
        since: "3.0.0",
        run(call) {
          if (isCluster) {
            apply(call);
            call.reply.ok();
          } else call.reply.error("ERR This instance has cluster support disabled");
        },
      });
    }
    context.command({
      name: "asking",
      arity: 1,
      flags: ["fast"],
      group: "cluster",
      categories: ["connection"],
      summary: "Lets the next command reach a slot that is being imported.",
      complexity: "O(1)",
      since: "3.0.0",
      run(call) {
        if (isCluster) {
          call.client.isAsking = true;
          call.reply.ok();
        } else call.reply.error("ERR This instance has cluster support disabled");
      },
    });
  },
});
