/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at http://mozilla.org/MPL/2.0/. */

/*
 * The npm package `oidc-provider` with its defaults: its own keys, sign-in pages and storage.
 *
 *   node provider.mjs PORT [claims]
 *
 * Configured is what has no default: a client, people (any name is that of a person with an email), and
 * the claims of the scope `email`. With `claims` it accepts the `claims` parameter.
 */

import Provider from 'oidc-provider';

const [port, ...features] = process.argv.slice(2);

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: 'persona-dialog',
    client_secret: 'secret',
    redirect_uris: ['https://dialog.example/callback'],
  }],
  claims: { email: ['email', 'email_verified'] },
  features: { claimsParameter: { enabled: features.includes('claims') } },
  async findAccount(context, id) {
    return {
      accountId: id,
      claims: async () => ({ sub: id, email: `${id}@mail.test`, email_verified: true }),
    };
  },
});

provider.listen(Number(port), '127.0.0.1');
