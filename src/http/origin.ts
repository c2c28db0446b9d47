/**
 * Where a request comes from, as far as its headers tell. Without a token only what is on this machine is trusted with anything, and a connection from it may be
 * somebody else's all the same: of a proxy that passes on what others ask, or of a browser that does what a page of another site wants.
 */
import { isLoopback } from "../loopback.ts";

/** What a proxy says of who asked it. */
const PROXY_HEADERS = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

export interface OriginSigns {
  /** No page of another site is behind it. */
  readonly isOfThisSite: boolean;
  /** No proxy says that it passes it on. */
  readonly isDirect: boolean;
  /** It was sent to this machine by a name that nobody else can give it: a name of another site may lead here as well, and its pages then ask in that name. */
  readonly isByLoopbackName: boolean;
}

export function originSigns({ headers }: Request): OriginSigns {
  const host = headers.get("host") ?? "";
  const origin = headers.get("origin");
  const site = headers.get("sec-fetch-site");
  const isSameOrigin = origin === null || origin === `http://${host}` || origin === `https://${host}`;
  return {
    isOfThisSite: isSameOrigin && (site === null || site === "same-origin" || site === "none"),
    isDirect: PROXY_HEADERS.every((name) => !headers.has(name)),
    isByLoopbackName: isLoopback(/^\[?(.*?)\]?(?::[0-9]+)?$/.exec(host)?.[1] ?? ""),
  };
}
