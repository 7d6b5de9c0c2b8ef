// An OpenID provider for tests: node provider.mjs SETTINGS.json. Its accounts are whoever logs in; it forgets all at its end.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { Provider } = await import(pathToFileURL(settings.library).href);

const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
  scopes: ['openid', 'mail', 'calendar'],
  features: {
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: 'mail calendar',
        audience: resource.replace(/\/opaque$/, ''),
        accessTokenFormat: resource.endsWith('/opaque') ? 'opaque' : 'jwt',
        accessTokenTTL: settings.seconds,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (_ctx, token) => ({ email: token.accountId }),
  pkce: { required: () => false },
  cookies: { keys: ['only for tests'] },
  ttl: { Session: 600, Grant: 600, Interaction: 600, AccessToken: settings.seconds, IdToken: 600 },
});

const { cert, key } = settings;
createServer({ cert, key }, provider.callback()).listen(settings.port, '127.0.0.1');
