/**
 * Services: what one plugin provides and others build on.
 *
 * A service is named by a token, which carries its type. One plugin of a node provides it; any number require it (they do not
 * load without it) or use it (they get `undefined` when nobody provides it). Swapping a feature is loading another plugin
 * that provides the same token. Tokens of what the default plugins share live in `contracts/`; a plugin of your own may export one.
 */

/** The name of a service, and the type of what its provider gives. */
export class ServiceToken<Service> {
  readonly name: string;
  /** Never there at runtime: it ties the type to the token. */
  declare readonly provided: Service;

  constructor(name: string) {
    this.name = name;
  }
}

/** What a token's provider gives. */
export type ServiceOf<Token> = Token extends ServiceToken<infer Service> ? Service : never;

/**
 * Names a service.
 *
 * @param name As it appears in errors and in the boot tree; kebab-case.
 * @returns The token, to be exported and shared between provider and users.
 * @example
 * ```ts
 * export interface Greeter { greet(name: string): string }
 * export const greeterService = service<Greeter>("greeter");
 * ```
 */
export function service<Service>(name: string): ServiceToken<Service> {
  return new ServiceToken<Service>(name);
}
