/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at http://mozilla.org/MPL/2.0/. */

/*
 * An oracle of BrowserID (see `lines.js`).
 *
 *   {"op": "support", "issuer": "RS256"}                     -> the support document of an issuer
 *   {"op": "mint", "issuer": ..., "user": ..., "email": ...,
 *    "domain": ..., "audience": ..., "short": false}         -> a bundle
 *   {"op": "verify", "bundle": ..., "support": ...}          -> {"email", "audience"}
 *
 * Issuers and users are named by algorithm: RS256, RS256-2047 (a slightly short modulus, as
 * browserid-crypto generates), DS128, DS256. With `short`, the signature of an RSA assertion
 * begins with zeros, which browserid-crypto omits.
 */

'use strict';

const crypto = require('crypto');
const path = require('path');

const answerLines = require('./lines');

const modules = process.env.ORACLE_MODULES || path.join(__dirname, 'node_modules');
const library = (name) => require(path.join(modules, 'browserid-crypto', name));

const jwcrypto = library('index.js');
library('lib/algs/rs.js');
library('lib/algs/ds.js');

const MINUTE = 60 * 1000;
const keys = new Map();

const call = (receiver, name, ...args) => new Promise((resolve, reject) => {
  receiver[name](...args, (error, ...results) => {
    if (error) reject(error instanceof Error ? error : new Error(String(error)));
    else resolve(results);
  });
});

/*
 * Node generates RSA keys, because the library takes seconds for one. They are generated as JWK
 * directly: Node 20 may deadlock while it exports a key object as JWK.
 */
function rsaPair(modulusLength) {
  const { privateKey: jwk } = crypto.generateKeyPairSync('rsa', {
    modulusLength,
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { format: 'jwk' },
  });
  const decimal = (name) => BigInt(`0x${Buffer.from(jwk[name], 'base64url').toString('hex')}`).toString();
  const [n, e, d] = ['n', 'e', 'd'].map(decimal);
  return {
    privateKey: crypto.createPrivateKey({ key: jwk, format: 'jwk' }),
    publicKey: jwcrypto.loadPublicKeyFromObject({ algorithm: 'RS', n, e }),
    secretKey: jwcrypto.loadSecretKeyFromObject({ algorithm: 'RS', n, e, d }),
  };
}

async function pair(role, kind) {
  const name = `${role} ${kind}`;
  if (!keys.has(name)) {
    const made = kind.startsWith('RS256')
      ? rsaPair(Number(kind.split('-')[1] || 2048))
      : (await call(jwcrypto, 'generateKeypair', { algorithm: 'DS', keysize: Number(kind.slice(2)) }))[0];
    keys.set(name, made);
  }
  return keys.get(name);
}

/* RSA signatures are deterministic, so Node can search what would take the library minutes. */
function nonceOfShortSignature(payload, privateKey) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = encode({ alg: 'RS256' });
  for (let nonce = 0; ; nonce += 1) {
    const text = `${header}.${encode({ nonce, ...payload })}`;
    if (crypto.sign('sha256', text, privateKey)[0] === 0) return nonce;
  }
}

const operations = {
  async support({ issuer }) {
    return { 'public-key': (await pair('issuer', issuer)).publicKey.toSimpleObject() };
  },

  async mint({ issuer, user, email, domain, audience, short }) {
    const now = Date.now();
    const end = now + 2 * MINUTE;
    const userPair = await pair('user', user);
    const issuerPair = await pair('issuer', issuer);
    const claims = short
      ? { nonce: nonceOfShortSignature({ exp: end, aud: audience }, userPair.privateKey) }
      : {};
    const [certificate] = await call(
      jwcrypto.cert, 'sign',
      { publicKey: userPair.publicKey, principal: { email } },
      { issuer: domain, issuedAt: new Date(now), expiresAt: new Date(now + 60 * MINUTE) },
      {}, issuerPair.secretKey,
    );
    const [assertion] = await call(
      jwcrypto.assertion, 'sign',
      claims,
      { audience, expiresAt: new Date(end) },
      userPair.secretKey,
    );
    return jwcrypto.cert.bundle([certificate], assertion);
  },

  async verify({ bundle, support }) {
    const key = jwcrypto.loadPublicKeyFromObject(support['public-key']);
    const root = (issuer, done) => done(null, key);
    const [certificates, , params] = await call(jwcrypto.cert, 'verifyBundle', bundle, new Date(), root);
    const last = certificates[certificates.length - 1];
    return { email: last.certParams.principal.email, audience: params.audience };
  },
};

answerLines(operations);
