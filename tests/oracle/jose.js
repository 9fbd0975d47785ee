/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at http://mozilla.org/MPL/2.0/. */

/*
 * An oracle of JOSE by the npm package of that name: JSON requests on stdin, JSON answers on
 * stdout, one per line.
 *
 *   {"op": "key", "algorithm": "RS256", "kid": ...}          -> a new public JWK
 *   {"op": "mint", "algorithm": ..., "kid": ..., "claims": {...}} -> an ID token
 */

'use strict';

const readline = require('readline');

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

  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      const request = JSON.parse(line);
      answer = { result: await operations[request.op](request) };
    } catch (error) {
      answer = { error: String(error.message || error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

main();
