/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at http://mozilla.org/MPL/2.0/. */

/*
 * An oracle of JOSE by the npm package of that name (see `lines.js`).
 *
 *   {"op": "key", "algorithm": "RS256", "kid": ...}          -> a new public JWK
 *   {"op": "mint", "algorithm": ..., "kid": ..., "claims": {...}} -> an ID token
 */

'use strict';

const answerLines = require('./lines');

const keys = new Map();

async function main() {
  const jose = await import('jose');

  const operations = {
    async key({ algorithm, kid }) {
      const pair = await jose.generateKeyPair(algorithm, { extractable: true });
      keys.set(kid, pair.privateKey);
      return { ...await jose.exportJWK(pair.publicKey), kid, alg: algorithm, use: 'sig' };
    },

    async mint({ algorithm, kid, claims }) {
      return new jose.SignJWT(claims)
        .setProtectedHeader({ alg: algorithm, kid, typ: 'JWT' })
        .setIssuedAt()
        .setExpirationTime('10m')
        .sign(keys.get(kid));
    },
  };

  await answerLines(operations);
}

main();
